/**
 * Runs a case with the public client, in Node.js and in a page alike, and writes its transcript down.
 *
 * `tests/cases/README.md` says what steps and transcripts are; `tests/src` in Rust is the native runner of the same.
 */

import type {
  Descriptor,
  EmbedResponse,
  EndpointEntry,
  EndpointRef,
  Part,
  SippClient,
  SippError,
  TextResponse,
  TextRun,
} from "../src/index.ts";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";

/** JSON, as cases hold it. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json };
type Fields = { readonly [name: string]: Json };

/** What a host gives to a case. */
export interface Stage {
  readonly client: SippClient;
  /** Where a model lies. */
  source(name: string): Extract<Descriptor, { kind: "local" }>["source"];
  /** Whether endpoints are stand-ins, whose models are only names. */
  readonly standIn: boolean;
  /** What stands for a model in messages, and its name. */
  readonly names: readonly (readonly [string, string])[];
  /** Scheme and authority of a cassette's upstream, which `{upstream}` stands for in a base URL. */
  readonly upstream?: string;
  /** The secret of every credential. */
  readonly secret?: string;
}

/** Characters that remain of the text of a cancelled answer: how far it came is a matter of luck. */
const CANCELLED_CHARACTERS = 8;
const VECTOR_NUMBERS = 4;
const TOLERANCE = 0.002;
const VERBS = ["add", "remove", "list", "query", "chat", "embed", "close", "all", "same", "nearest"] as const;
/** Fields whose values are any JSON of the caller's. */
const RAW = new Set(["value", "parameters", "schema"]);
/** Fields whose texts are cases of an enum. */
const ENUMS = new Set(["flash_attention", "cache_type_k", "cache_type_v", "pooling", "policy", "mode", "samplers", "role"]);

/** Runs the steps and returns a line for each. */
export async function transcribe(stage: Stage, steps: readonly Fields[]): Promise<Json[]> {
  const session = new Session(stage);
  const lines: Json[] = [];
  for (const step of steps) {
    if (Array.isArray(step["all"])) {
      lines.push(...(await Promise.all(step["all"].map((one) => session.line(one as Fields)))));
    } else {
      lines.push(await session.line(step));
    }
  }
  await stage.client.close();
  return lines;
}

/** Where two transcripts differ first; nothing when they agree. */
export function difference(expected: Json | undefined, got: Json | undefined, place = ""): string | undefined {
  if (Array.isArray(expected) && Array.isArray(got)) {
    if (expected.length !== got.length) {
      return place;
    }
    return first(expected.map((one, index) => difference(one, got[index], `${place}[${index}]`)));
  }
  if (isFields(expected) && isFields(got)) {
    const names = new Set([...Object.keys(expected), ...Object.keys(got)]);
    return first([...names].map((name) => difference(expected[name], got[name], place === "" ? name : `${place}.${name}`)));
  }
  if (typeof expected === "number" && typeof got === "number" && !Number.isInteger(expected)) {
    return Math.abs(expected - got) > TOLERANCE * Math.max(1, Math.abs(expected)) ? place : undefined;
  }
  return expected === got ? undefined : place || "the whole line";
}

class Session {
  readonly #stage: Stage;
  readonly #texts = new Map<string, string>();
  readonly #vectors = new Map<string, readonly Float32Array[]>();

  constructor(stage: Stage) {
    this.#stage = stage;
  }

  async line(step: Fields): Promise<Json> {
    const verb = VERBS.find((name) => name in step);
    if (verb === undefined) {
      throw new Error(`a step has no verb: ${JSON.stringify(step)}`);
    }
    let result: Json;
    try {
      result = await this.#do(verb, step[verb] as Fields, step);
    } catch (error) {
      if (!isSippError(error)) {
        throw error;
      }
      result = { error: described(error) };
    }
    const hidden = hide(result, (step["hide"] ?? []) as string[]);
    return this.#named({ [verb]: hidden });
  }

  async #do(verb: (typeof VERBS)[number], fields: Fields, step: Fields): Promise<Json> {
    const { client } = this.#stage;
    switch (verb) {
      case "add":
        return endpoint(await client.add(fields["id"] as string, this.#descriptor(fields["descriptor"] as Fields)));
      case "remove":
        await client.remove(fields as unknown as EndpointRef);
        return {};
      case "list":
        return (await client.list()).map(entry);
      case "query":
        return await this.#text(step, client.query(fields["prompt"] as string, options(fields)));
      case "chat": {
        const messages = fields["messages"] as readonly Fields[];
        return await this.#text(step, client.chat(messages.map(message) as never, options(fields)));
      }
      case "embed": {
        const response = await client.embed(fields["inputs"] as string[], options(fields)).response;
        if (typeof step["keep"] === "string") {
          this.#vectors.set(step["keep"], response.vectors);
        }
        return embedding(response);
      }
      case "close":
        await client.close();
        return {};
      case "same":
        return new Set((fields as unknown as string[]).map((name) => this.#texts.get(name))).size === 1;
      case "nearest":
        return nearest(this.#vectors.get(fields["of"] as string) ?? [], fields["to"] as number);
      case "all":
        throw new Error("`all` stands in no other `all`");
    }
  }

  async #text(step: Fields, run: TextRun): Promise<Json> {
    const after = step["cancel_after"];
    if (after === 0) {
      run.cancel();
    }
    let tokens = 0;
    if (typeof after === "number" && after > 0) {
      for await (const batch of run.tokens) {
        tokens += batch.tokens;
        if (tokens >= after) {
          run.cancel();
        }
      }
    }
    const response = await run.response;
    if (typeof step["keep"] === "string") {
      this.#texts.set(step["keep"], response.text);
    }
    return text(response);
  }

  #descriptor(fields: Fields): Descriptor {
    const { authentication, model, ...rest } = fields;
    const converted = camel(rest) as { kind: string };
    if (converted.kind === "local") {
      const { standIn } = this.#stage;
      const name = model as string;
      const own = standIn || name.trim() === "" ? name : this.#stage.source(name);
      const { projector, ...multimodal } = (rest["multimodal"] ?? {}) as { projector?: string };
      const source = projector === undefined ? own : { model: own, projector: this.#stage.source(projector) };
      return { ...converted, multimodal: camel(multimodal), source } as unknown as Descriptor;
    }
    const { upstream, secret = "a-secret" } = this.#stage;
    const baseUrl = rest["base_url"];
    const address = typeof baseUrl === "string" && upstream !== undefined ? { baseUrl: baseUrl.replace("{upstream}", upstream) } : {};
    const lists = { headers: pairs(rest["headers"]), protocolOptions: pairs(rest["protocol_options"]), options: pairs(rest["options"]) };
    return { ...converted, ...address, ...lists, ...(model === undefined ? {} : { model }), authentication: proof(authentication, secret) } as unknown as Descriptor;
  }

  /** Puts a model's name in place of what stands for it. */
  #named(value: Json): Json {
    const replaced = this.#stage.names.reduce((json, [from, to]) => json.replaceAll(JSON.stringify(from).slice(1, -1), `<${to}>`), JSON.stringify(value));
    return JSON.parse(replaced) as Json;
  }
}

function options(fields: Fields): object {
  const { options: own = {}, local, endpoint: named, endpoint_options, provider_options, context = {} } = fields;
  const { request_id, deadline } = context as Fields;
  const { tools, response_format, ...typed } = own as Fields;
  return {
    ...(camel(typed) as object),
    ...(tools === undefined ? {} : { tools: (tools as readonly Fields[]).map((tool) => ({ ...tool })) }),
    ...(response_format === undefined ? {} : { responseFormat: form(response_format) }),
    endpoint: named,
    local: local === undefined || local === null ? undefined : localOptions(local as Fields),
    endpointOptions: pairs(endpoint_options),
    providerOptions: pairs(provider_options),
    requestId: request_id,
    deadlineMs: deadline,
  };
}

function localOptions(local: Fields): object {
  const media = (local["media"] ?? []) as readonly number[][];
  return { ...(camel(local) as object), media: media.map((bytes) => Uint8Array.from(bytes)) };
}

function form(format: Json): unknown {
  return typeof format === "string" ? format.replace("_", "-") : (format as Fields)["json_schema"];
}

function message(fields: Fields): unknown {
  const content = fields["content"];
  return { role: fields["role"], content: typeof content === "string" ? content : (content as Fields[]).map(part) };
}

function part(fields: Fields): unknown {
  const [[tag, value]] = Object.entries(fields) as [[string, Json]];
  if (tag === "media") {
    const { source, mime_type } = value as { source: Fields; mime_type: string };
    const [[kind, where]] = Object.entries(source) as [[string, Json]];
    return { tag, val: { mimeType: mime_type, source: { tag: kind, val: kind === "bytes" ? Uint8Array.from(where as number[]) : where } } };
  }
  return { tag: tag.replace("_", "-"), val: typeof value === "string" ? value : { isError: false, ...(camel(value) as object) } };
}

function proof(authentication: Json | undefined, value: string): unknown {
  if (authentication === undefined || authentication === "none") {
    return { type: "none" };
  }
  const [[type, header]] = Object.entries(authentication as Fields) as [[string, Json]];
  return type === "header" ? { type, name: (header as Fields)["name"], value } : { type: type.replace("_", "-"), value };
}

/** A list of names and values as an object. */
function pairs(list: Json | undefined): Record<string, Json> {
  return Object.fromEntries(((list ?? []) as readonly Fields[]).map(({ name, value }) => [name as string, value as Json]));
}

/** Names in camelCase, cases of enums with hyphens, and numbers that JSON lacks. */
/** Fields whose type is a variant. */
const VARIANTS = new Set(["gpu_layers"]);

function camel(value: Json, of = ""): unknown {
  if (VARIANTS.has(of)) {
    const [[tag, val]] = (isFields(value) ? Object.entries(value) : [[value, undefined]]) as [[string, Json | undefined]];
    return val === undefined ? { tag } : { tag, val };
  }
  if (Array.isArray(value)) {
    return value.map((one) => camel(one, of));
  }
  if (isFields(value)) {
    return Object.fromEntries(
      Object.entries(value).map(([name, field]) => [
        name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
        RAW.has(name) ? field : camel(field, name),
      ]),
    );
  }
  if (typeof value === "string") {
    const numbers: Record<string, number> = { NaN: Number.NaN, inf: Infinity, "-inf": -Infinity };
    return ENUMS.has(of) ? value.replaceAll("_", "-") : (numbers[value] ?? value);
  }
  return value;
}

function endpoint({ kind, id }: EndpointRef): Json {
  return { kind, id };
}

function entry({ endpoint: { kind, id }, capabilities: { query, chat, embed } }: EndpointEntry): Json {
  return { kind, id, query, chat, embed };
}

function text(response: TextResponse): Json {
  const cancelled = response.finishReason === "cancelled";
  const signatures = response.message.content.flatMap((one: Part | string) => (typeof one === "object" && one.tag === "reasoning" && one.val.signature !== undefined ? [one.val.signature] : []));
  const { usage } = response;
  return {
    endpoint: response.endpoint.id,
    ...(cancelled ? { begins: [...response.text].slice(0, CANCELLED_CHARACTERS).join("") } : { text: response.text }),
    ...(response.reasoning === "" ? {} : { reasoning: response.reasoning }),
    ...(signatures.length === 0 ? {} : { signatures }),
    ...(response.toolCalls.length === 0 ? {} : { tool_calls: response.toolCalls.map(({ id, name, arguments: given }) => ({ id, name, arguments: given })) }),
    ...(response.logprobs.length === 0 ? {} : { logprobs: response.logprobs.map(logprob) }),
    finish_reason: snake(response.finishReason),
    ...(response.cancelled === undefined ? {} : { cancelled: snake(response.cancelled) }),
    ...(usage === undefined ? {} : { usage: tokens(cancelled ? { ...usage, outputTokens: undefined } : usage, response.endpoint.kind) }),
    ...identified(response.metadata),
  };
}

function embedding(response: EmbedResponse): Json {
  const { vectors, pooling, normalized, usage } = response;
  return {
    endpoint: response.endpoint.id,
    dimensions: vectors[0]?.length ?? 0,
    begin: vectors.map((vector) => [...vector.slice(0, VECTOR_NUMBERS)].map(rounded)),
    norms: vectors.map((vector) => rounded(norm(vector))),
    ...(pooling === undefined ? {} : { pooling }),
    ...(normalized === undefined ? {} : { normalized }),
    ...(usage === undefined ? {} : { usage: tokens(usage, response.endpoint.kind) }),
    ...identified(response.metadata),
  };
}

function identified({ requestId, upstreamRequestId, upstreamResponseId, retries }: types.Metadata): Fields {
  return {
    ...(requestId === undefined ? {} : { request_id: requestId }),
    ...(upstreamRequestId === undefined ? {} : { upstream_request_id: upstreamRequestId }),
    ...(upstreamResponseId === undefined ? {} : { upstream_response_id: upstreamResponseId }),
    ...(retries === 0 ? {} : { retries }),
  };
}

function tokens(usage: types.Usage, kind: string): Json {
  const told = kind === "local" ? { ...usage, cachedTokens: undefined, cacheWriteTokens: undefined } : usage;
  const counts = {
    input_tokens: told.inputTokens,
    output_tokens: told.outputTokens,
    cached_tokens: told.cachedTokens,
    cache_write_tokens: told.cacheWriteTokens,
    reasoning_tokens: told.reasoningTokens,
  };
  return Object.fromEntries(Object.entries(counts).filter((count): count is [string, number] => count[1] !== undefined));
}

function logprob({ token, logprob: own, top }: types.TokenLogprob): Json {
  return { token, logprob: rounded(own), top: top.map((other) => ({ token: other.token, logprob: rounded(other.logprob) })) };
}

function described(error: SippError): Json {
  const { kind, message: words, details } = error;
  switch (kind) {
    case "invalid-request":
    case "overloaded":
      return { kind: snake(kind), message: words };
    case "endpoint-not-found":
      return { kind: snake(kind), endpoint: details.endpoint ?? null };
    case "ambiguous-endpoint":
    case "no-supported-endpoint":
      return { kind: snake(kind), operation: details.operation ?? null };
    case "unsupported":
      return { kind, operation: details.operation ?? null, endpoint: details.endpoint ?? null, reason: details.reason ?? null };
    case "prompt-too-long":
      return { kind: snake(kind), prompt_tokens: details.prompt?.promptTokens ?? null, context_tokens: details.prompt?.contextTokens ?? null };
    case "model":
      return { kind, fault: snake(details.fault ?? ""), message: words };
    case "upstream": {
      const { fault, provider, status, code, message: told, retryAfter, requestId } = details.upstream as types.UpstreamPayload;
      return {
        kind,
        fault: snake(fault),
        provider,
        status: status ?? null,
        message: told,
        ...(code === undefined ? {} : { code }),
        ...(retryAfter === undefined ? {} : { retry_after: retryAfter }),
        ...(requestId === undefined ? {} : { request_id: requestId }),
      };
    }
    case "cancelled":
      return { kind, reason: snake(details.cancelled ?? "") };
    case "closed":
      return { kind };
    case "internal":
      return { kind };
    default:
      return { kind: snake(kind), message: words };
  }
}

function hide(value: Json, names: readonly string[]): Json {
  if (Array.isArray(value)) {
    return value.map((item) => hide(item as Json, names));
  }
  if (!isFields(value)) {
    return value;
  }
  const left = Object.entries(value).filter(([name]) => !names.includes(name));
  return Object.fromEntries(left.map(([name, field]) => [name, hide(field, names)]));
}

function nearest(vectors: readonly Float32Array[], to: number): number {
  const cosine = (one: Float32Array, other: Float32Array): number => dot(one, other) / (norm(one) * norm(other));
  const one = vectors[to] ?? new Float32Array();
  const similar = vectors.map((other, index) => (index === to ? -2 : cosine(one, other)));
  return similar.indexOf(Math.max(...similar));
}

function dot(one: Float32Array, other: Float32Array): number {
  return one.reduce((sum, number, index) => sum + number * (other[index] ?? 0), 0);
}

function norm(vector: Float32Array): number {
  return Math.sqrt(dot(vector, vector));
}

function rounded(number: number): number {
  return Math.round(number * 1e3) / 1e3;
}

function snake(text: string): string {
  return text.replaceAll("-", "_");
}

function first(differences: readonly (string | undefined)[]): string | undefined {
  return differences.find((one) => one !== undefined);
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSippError(error: unknown): error is SippError {
  return error instanceof Error && error.name === "SippError";
}
