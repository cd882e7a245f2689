/**
 * Gateways and providers: endpoints that an adapter answers, a component with an instance of its own for each attempt.
 *
 * An instance for each keeps what one request breaks from the next, as on the native host.
 */

import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import type { Description } from "../generated/openai/interfaces/sipp-inference-adapter.js";
import type { Settings } from "../generated/openai/interfaces/sipp-inference-endpoint.js";
import { Answer } from "./channel.ts";
import { type AdapterExports, type AdapterName, instantiateAdapter } from "./component.ts";
import { asSippError, fromContract, SippError, toContract } from "./error.ts";
import { checkSent, Outbound, type Placement, type Route } from "./outbound.ts";
import { node } from "./platform.ts";
import { wait } from "./retry.ts";
import type { Vault } from "./secret.ts";
import type { Answerer } from "./switchboard.ts";

/** How often an endpoint is asked again, where its descriptor does not say. */
const RETRIES = 2;

/** How long an adapter has to end a cancelled answer with what it knows, in milliseconds. */
const GRACE = 250;

/** Largest answer that is carried, in characters. Models end long before; an upstream that writes without end does not. */
const LARGEST = 64 << 20;

/** What both kinds of descriptor come down to. */
interface Opening extends Omit<endpoints.GatewayDescriptor, "target" | "routes" | "protocolOptions" | "baseUrl"> {
  readonly adapter: AdapterName;
  readonly provider: string;
  readonly model: string;
  readonly baseUrl: string | undefined;
  readonly version: string | undefined;
  readonly correlationHeader: string | undefined;
  readonly options: types.Extension[];
}

/** Opens a gateway's target or a provider's model. */
export async function openRemote(descriptor: Exclude<endpoints.Descriptor, { tag: "local" }>, vault: Vault): Promise<Answerer> {
  const opening = descriptor.tag === "gateway" ? gateway(descriptor.val) : provider(descriptor.val);
  const unrouted = new AbortController();
  unrouted.abort();
  const outbound = new Outbound({} as Route, true, unrouted.signal);
  const imports = { ...outbound.imports(), "sipp:inference/endpoint": { get: () => ({ provider: "", model: "", baseUrl: "", options: [] }) } };
  const describer = await instantiateAdapter(opening.adapter, imports, outbound.clock);
  const description = describer.adapter.describe().find((one) => one.provider === opening.provider);
  outbound.end();
  if (description === undefined) {
    throw new SippError("invalid-request", `the adapter does not speak to \`${opening.provider}\``);
  }
  return new Remote(opening, description, vault);
}

function gateway(descriptor: endpoints.GatewayDescriptor): Opening {
  const { target, routes, protocolOptions, ...shared } = descriptor;
  const fields = protocolOptions.map(({ name, value }) => `${JSON.stringify(name)}:${value}`);
  const options = [
    { name: "routes", value: JSON.stringify(routes) },
    { name: "protocol_options", value: `{${fields.join(",")}}` },
  ];
  return { ...shared, adapter: "gateway", provider: "gateway", model: target, version: undefined, correlationHeader: undefined, options };
}

function provider(descriptor: endpoints.ProviderDescriptor): Opening {
  const { component, ...shared } = descriptor;
  if (component !== undefined) {
    throw new SippError("unsupported", "this host runs its own adapters only; leave component out, or put a gateway in front", {
      reason: "this host runs its own adapters only",
    });
  }
  const name = descriptor.provider === "openai-compatible" ? "openai_compatible" : descriptor.provider;
  const { baseUrl, version, correlationHeader } = descriptor;
  return { ...shared, adapter: name === "anthropic" ? "anthropic" : "openai", provider: name, baseUrl, version, correlationHeader };
}

/** A gateway's target or a provider's model. */
class Remote implements Answerer {
  readonly capabilities: endpoints.Capabilities;
  readonly #adapter: AdapterName;
  readonly #settings: Settings;
  readonly #route: Route;
  readonly #retries: number;

  constructor(opening: Opening, description: Description, vault: Vault) {
    const can = (operation: types.Operation): endpoints.Support =>
      description.operations.includes(operation) ? "unknown" : "unsupported";
    this.capabilities = { query: can("query"), chat: can("chat"), embed: can("embed") };
    const { provider: name, model, version, correlationHeader, options, headers, timeouts } = opening;
    const text = (opening.baseUrl ?? description.baseUrl)?.replace(/\/+$/, "");
    const baseUrl = text === undefined ? null : URL.parse(text);
    if (text === undefined || baseUrl === null) {
      throw new SippError("invalid-request", `base_url is required for ${name} endpoint descriptors`);
    }
    this.#adapter = opening.adapter;
    this.#settings = { provider: name, model, baseUrl: text, version, correlationHeader, options };
    // Anthropic takes a browser's requests only from those who say that they know whose key it is.
    const direct = name === "anthropic" && node === undefined ? [["anthropic-dangerous-direct-browser-access", "true"] as const] : [];
    this.#route = {
      baseUrl,
      vault,
      credential: placement(opening.authentication, description),
      headers: [...direct, ...headers.map((header) => [header.name, header.value] as const)],
      request: timeouts.request ?? 60_000,
      idle: timeouts.idle ?? 60_000,
    };
    // Their values come with each request.
    const later = [this.#route.credential?.header, correlationHeader].filter((header) => header !== undefined);
    for (const [name, value] of [...this.#route.headers, ...later.map((header) => [header, "x"] as const)]) {
      checkSent(name, value);
    }
    this.#retries = opening.retries ?? RETRIES;
  }

  async generate(request: types.Request, signal: AbortSignal): Promise<Answer> {
    return await this.#repeated(signal, async (outbound, retries, controller) => {
      const answer = new Answer(() => controller.abort());
      const { inference } = await this.#instance(outbound);
      this.#follow(inference.generate(request), answer, outbound, retries, controller.signal, request.context);
      await begun(answer);
      return answer;
    }, request.options.stream === false);
  }

  async embed(request: types.EmbedRequest, signal: AbortSignal): Promise<types.Embedding> {
    return await this.#repeated(signal, async (outbound, retries) => {
      const { inference } = await this.#instance(outbound);
      const embedding = await Promise.race([inference.embed(request), aborted(signal)]);
      outbound.end();
      return { ...embedding, metadata: counted(embedding.metadata, retries) };
    }, true);
  }

  close(): void {
    // Connections are the browser's own, and what runs may finish.
  }

  /** Asks, and asks again what can pass. */
  async #repeated<A>(
    signal: AbortSignal,
    attempt: (outbound: Outbound, retries: number, controller: AbortController) => Promise<A>,
    whole: boolean,
  ): Promise<A> {
    for (let retries = 0; ; retries += 1) {
      const controller = new AbortController();
      const onAbort = (): void => controller.abort();
      signal.addEventListener("abort", onAbort);
      const outbound = new Outbound(this.#route, whole, controller.signal);
      try {
        signal.throwIfAborted();
        return await attempt(outbound, retries, controller);
      } catch (thrown) {
        outbound.end();
        const error = outbound.judged(thrown);
        const pause = wait(error, retries, outbound.mayPass);
        if (pause === undefined || retries >= this.#retries || signal.aborted) {
          throw error;
        }
        await pausing(pause, signal);
      } finally {
        signal.removeEventListener("abort", onAbort);
      }
    }
  }

  async #instance(outbound: Outbound): Promise<AdapterExports> {
    return await instantiateAdapter(this.#adapter, {
      ...outbound.imports(),
      "sipp:inference/endpoint": { get: () => this.#settings },
    }, outbound.clock);
  }

  /** Carries an adapter's answer out of it, to its end. */
  #follow(
    generating: Promise<types.Generation>,
    answer: Answer,
    outbound: Outbound,
    retries: number,
    cancelled: AbortSignal,
    { requestId }: types.Context,
  ): void {
    const cutOff: types.Outcome = { finish: "cancelled", metadata: { requestId, retries } };
    // Whoever cancelled wants an end, whatever becomes of the upstream meanwhile.
    let grace: ReturnType<typeof setTimeout> | undefined;
    cancelled.addEventListener("abort", () => {
      grace = setTimeout(() => {
        answer.finish({ tag: "ok", val: cutOff });
        outbound.end();
      }, GRACE);
    });
    let size = 0;
    const follow = async (): Promise<void> => {
      const { tokens, outcome } = await generating;
      for await (const batch of tokens) {
        size += length(batch.delta);
        if (size > LARGEST) {
          throw new SippError("internal", `the answer is longer than ${LARGEST >> 20} MiB`);
        }
        answer.push(batch);
      }
      const ended = await outcome;
      if (ended.tag === "err") {
        throw fromContract(ended.val);
      }
      answer.finish({ tag: "ok", val: { ...ended.val, metadata: counted(ended.val.metadata, retries) } });
    };
    follow().catch((thrown: unknown) => {
      const ending = cancelled.aborted ? ({ tag: "ok", val: cutOff } as const) : ({ tag: "err", val: toContract(outbound.judged(thrown)) } as const);
      answer.finish(ending);
    }).finally(() => {
      clearTimeout(grace);
      outbound.end();
    });
  }
}

/** Waits, or is told at once that nobody wants to wait. */
async function pausing(milliseconds: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const paused = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
  });
  await Promise.race([paused, aborted(signal)]).finally(() => clearTimeout(timer));
}

/** Fails when the signal says so. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(new SippError("cancelled", "the request was cancelled: the caller cancelled", { cancelled: "caller-cancelled" })));
  });
}

function length(delta: types.Delta): number {
  switch (delta.tag) {
    case "text":
      return delta.val.length;
    case "reasoning":
      return delta.val.text.length;
    case "tool-call":
      return delta.val.arguments.length;
  }
}

/** Waits for the first token, or for the end when there is none; a failure before is thrown. */
async function begun(answer: Answer): Promise<void> {
  const ended = await Promise.race([answer.begun, answer.ending]);
  if (ended !== undefined && ended.tag === "err" && answer.content.length === 0) {
    throw asSippError(ended.val);
  }
}

/** With the retries of this host, besides those of a gateway behind it. */
function counted(metadata: types.Metadata, retries: number): types.Metadata {
  return { ...metadata, retries: metadata.retries + retries };
}

/** Where the credential goes: as the descriptor says, or else as the adapter does. */
function placement(authentication: endpoints.Authentication, description: Description): Placement | undefined {
  switch (authentication.tag) {
    case "none":
      return undefined;
    case "api-key": {
      if (description.credential === undefined) {
        throw new SippError("invalid-request", `provider \`${description.provider}\` takes no api_key; use bearer or header`);
      }
      const { name, prefix } = description.credential;
      return { header: name, prefix, credential: authentication.val };
    }
    case "bearer":
      return { header: "authorization", prefix: "Bearer ", credential: authentication.val };
    case "header":
      return { header: authentication.val.name, prefix: "", credential: authentication.val.value };
  }
}
