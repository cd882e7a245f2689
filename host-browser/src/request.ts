/**
 * Short ways to write requests and descriptors, and their way into the contract's types.
 *
 * What is left out is none or empty. No rule stands here: what is not allowed, the client component refuses.
 */

import type * as client from "../generated/client/interfaces/sipp-client-client.js";
import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import { SippError } from "./error.ts";
import type { LoadProgress, ModelSource } from "./store/source.ts";

/** A message; a text stands for one text part. */
export interface Message {
  readonly role: types.Role;
  readonly content: string | readonly types.Part[];
}

/** Fields of the caller's own: any JSON. */
export type Extensions = Readonly<Record<string, unknown>>;

/** A tool that the model may ask for; its parameters are a JSON schema. */
export interface Tool extends Omit<types.Tool, "parameters"> {
  readonly parameters?: unknown;
}

/** Which tools the model may or must ask for. */
export type ToolChoice = "auto" | "none" | "required" | { readonly tool: string };

/** The form of an answer. */
export type ResponseFormat =
  | "text"
  | "json-object"
  | (Omit<types.JsonSchemaFormat, "schema"> & { readonly schema: unknown });

/** Sampling of a local model; every field may be left out. */
export type Sampling = Partial<types.Sampling>;

/** Options of local models, of this host or behind a gateway. */
export interface LocalOptions {
  /** A hint for cache affinity. */
  readonly contextKey?: string;
  /** A GBNF grammar that the text must match. */
  readonly grammar?: string;
  /** A JSON schema that the text must match: JSON text, or the schema. */
  readonly jsonSchema?: unknown;
  readonly sampling?: Sampling;
  /** Encoded images for the prompt. */
  readonly media?: readonly Uint8Array[];
}

/** Who is asked, and within which limits. */
export interface CallOptions {
  /** Who shall answer. May be left out when exactly one local endpoint can. */
  readonly endpoint?: client.EndpointRef | undefined;
  /** Fields for a gateway. */
  readonly endpointOptions?: Extensions | undefined;
  /** Fields for a provider. */
  readonly providerOptions?: Extensions | undefined;
  /** Identifies the request in logs and at providers. */
  readonly requestId?: string | undefined;
  /** Milliseconds from now after which the answer is of no use. At least 1. */
  readonly deadlineMs?: number | undefined;
  /** Cancels the run. */
  readonly signal?: AbortSignal | undefined;
}

/** Options of `query` and `chat`. */
export interface TextCallOptions extends CallOptions {
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly topP?: number | undefined;
  readonly stop?: readonly string[] | undefined;
  readonly stream?: boolean | undefined;
  readonly tools?: readonly Tool[] | undefined;
  readonly toolChoice?: ToolChoice | undefined;
  readonly responseFormat?: ResponseFormat | undefined;
  readonly logprobs?: number | undefined;
  readonly local?: LocalOptions | undefined;
}

/** Options of `embed`. */
export interface EmbedCallOptions extends CallOptions {
  readonly local?: client.LocalEmbedOptions | undefined;
}

/** A secret, or who gives one for each request; for tokens that live shortly. */
export type SecretSource = { readonly value: string } | { readonly valueProvider: () => string | Promise<string> };

/** How a request proves who sends it. */
export type Authentication =
  | { readonly type: "none" }
  | ({ readonly type: "api-key" } & SecretSource)
  | ({ readonly type: "bearer" } & SecretSource)
  | ({ readonly type: "header"; readonly name: string } & SecretSource);

/** What is kept of prompts that were computed. */
export interface CacheOptions extends Omit<endpoints.CacheOptions, "maxSnapshotBytes"> {
  /** Most bytes of all snapshots. Default: 256 MiB. Refused where the mode keeps none. */
  readonly maxSnapshotBytes?: number;
}

/** Where and how weights are held. */
export interface Placement extends Partial<Omit<endpoints.Placement, "devices" | "tensorSplit">> {
  /** GPUs by name; the engine of this package uses none. */
  readonly devices?: readonly string[];
  /** Each GPU's share of the model. */
  readonly tensorSplit?: readonly number[];
}

/** How models share GPUs. The engine of this package uses none, and refuses it. */
export interface ResidencyOptions extends Omit<endpoints.ResidencyOptions, "gpuMemorySafetyMarginBytes"> {
  /** Bytes of each GPU that stay free beside what the model needs. Default: 512 MiB. */
  readonly gpuMemorySafetyMarginBytes?: number;
}

/** A model that this page, or this Node.js, runs. */
export interface LocalDescriptor {
  readonly kind: "local";
  /**
   * A URL, a file, shards of either, or the id of an installed model; in Node.js the path of a file. A model that reads
   * images comes with its projector: `{ model, projector }`.
   */
  readonly source: ModelSource;
  readonly placement?: Placement;
  readonly context?: endpoints.ContextOptions;
  /** How images are read; the projector is part of `source`. */
  readonly multimodal?: Omit<endpoints.MultimodalOptions, "projector">;
  readonly scheduler?: endpoints.SchedulerOptions;
  readonly cache?: CacheOptions;
  readonly sampling?: Sampling;
  readonly residency?: ResidencyOptions;
  /** The SHA-256 that the file must have, as hexadecimal digits; of shards, one each. */
  readonly sha256?: string | readonly string[];
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

/** Fields that gateways and providers share. */
interface RemoteDescriptor {
  readonly authentication?: Authentication;
  /** Headers of every request. One that the browser would not send is refused. */
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeouts?: endpoints.Timeouts;
  /** How often to ask again when it fails before the first token in a way that can pass, from 0 to 10. Default: 2. */
  readonly retries?: number;
}

/** A target of a Sipp gateway. */
export interface GatewayDescriptor extends RemoteDescriptor {
  readonly kind: "gateway";
  readonly target: string;
  readonly baseUrl: string;
  readonly routes?: endpoints.Routes;
  readonly protocolOptions?: Extensions;
}

/** A model at a provider. */
export interface ProviderDescriptor extends RemoteDescriptor {
  readonly kind: "provider";
  /** `openai`, `openai_compatible` or `anthropic`. */
  readonly provider: string;
  readonly model: string;
  readonly baseUrl?: string;
  readonly version?: string;
  readonly correlationHeader?: string;
  /** An adapter of somebody else's; browsers take none in this version. */
  readonly component?: string;
  /** Settings of the adapter's own. */
  readonly options?: Extensions;
}

/** What an endpoint is. */
export type Descriptor = LocalDescriptor | GatewayDescriptor | ProviderDescriptor;

/** Holds a secret and names it by a number. */
export type Keep = (secret: SecretSource) => number;

function toCache({ maxSnapshotBytes: bytes, ...cache }: CacheOptions): endpoints.CacheOptions {
  return bytes === undefined ? cache : { ...cache, maxSnapshotBytes: toBytes("maxSnapshotBytes", bytes) };
}

function toResidency({ gpuMemorySafetyMarginBytes: bytes, ...residency }: ResidencyOptions): endpoints.ResidencyOptions {
  return bytes === undefined
    ? residency
    : { ...residency, gpuMemorySafetyMarginBytes: toBytes("gpuMemorySafetyMarginBytes", bytes) };
}

function toBytes(name: string, bytes: number): bigint {
  if (!Number.isSafeInteger(bytes) || bytes < 0) {
    throw new SippError("invalid-request", `${name} must be a whole number, at least 0`);
  }
  return BigInt(bytes);
}

function toPlacement({ devices, tensorSplit, ...placement }: Placement): endpoints.Placement {
  return { ...placement, devices: [...(devices ?? [])], tensorSplit: Float32Array.from(tensorSplit ?? []) };
}

/** A descriptor for the component. `model` names a local model's source to this host. */
export function toDescriptor(descriptor: Descriptor, model: string, keep: Keep): endpoints.Descriptor {
  switch (descriptor.kind) {
    case "local":
      return {
        tag: "local",
        val: {
          model,
          placement: toPlacement(descriptor.placement ?? {}),
          context: descriptor.context ?? {},
          multimodal: descriptor.multimodal ?? {},
          scheduler: descriptor.scheduler ?? {},
          cache: toCache(descriptor.cache ?? {}),
          sampling: toSampling(descriptor.sampling ?? {}),
          residency: toResidency(descriptor.residency ?? {}),
        },
      };
    case "gateway":
      return {
        tag: "gateway",
        val: {
          target: descriptor.target,
          baseUrl: descriptor.baseUrl,
          routes: descriptor.routes ?? {},
          protocolOptions: toExtensions(descriptor.protocolOptions),
          ...toRemote(descriptor, keep),
        },
      };
    case "provider":
      return {
        tag: "provider",
        val: {
          provider: descriptor.provider,
          model: descriptor.model,
          baseUrl: descriptor.baseUrl,
          version: descriptor.version,
          correlationHeader: descriptor.correlationHeader,
          component: descriptor.component,
          options: toExtensions(descriptor.options),
          ...toRemote(descriptor, keep),
        },
      };
  }
}

function toRemote(descriptor: RemoteDescriptor, keep: Keep) {
  return {
    authentication: toAuthentication(descriptor.authentication ?? { type: "none" }, keep),
    headers: Object.entries(descriptor.headers ?? {}).map(([name, value]) => ({ name, value })),
    timeouts: descriptor.timeouts ?? {},
    retries: descriptor.retries,
  };
}

function toAuthentication(authentication: Authentication, keep: Keep): endpoints.Authentication {
  switch (authentication.type) {
    case "none":
      return { tag: "none" };
    case "api-key":
    case "bearer":
      return { tag: authentication.type, val: keep(authentication) };
    case "header":
      return { tag: "header", val: { name: authentication.name, value: keep(authentication) } };
  }
}

/** A `query` for the component. */
export function toQuery(prompt: string, options: TextCallOptions, call: number): client.QueryRequest {
  return { prompt, ...toTextCall(options, call) };
}

/** A `chat` for the component. */
export function toChat(messages: readonly Message[], options: TextCallOptions, call: number): client.ChatRequest {
  return { messages: messages.map(toMessage), ...toTextCall(options, call) };
}

/** An `embed` for the component. */
export function toEmbed(inputs: readonly string[], options: EmbedCallOptions, call: number): client.EmbedRequest {
  return { inputs: [...inputs], local: options.local, ...toCall(options, call) };
}

function toTextCall(options: TextCallOptions, call: number) {
  const text: types.TextOptions = {
    maxTokens: options.maxTokens,
    temperature: options.temperature,
    topP: options.topP,
    stop: [...(options.stop ?? [])],
    stream: options.stream,
    tools: (options.tools ?? []).map((tool) => ({ ...tool, parameters: toJson(tool.parameters) })),
    toolChoice: toToolChoice(options.toolChoice),
    responseFormat: toResponseFormat(options.responseFormat),
    logprobs: options.logprobs,
  };
  return { options: text, local: toLocal(options.local), ...toCall(options, call) };
}

function toCall(options: CallOptions, call: number) {
  const context: types.Context = { requestId: options.requestId, deadline: options.deadlineMs, call };
  return {
    endpoint: options.endpoint,
    endpointOptions: toExtensions(options.endpointOptions),
    providerOptions: toExtensions(options.providerOptions),
    context,
  };
}

function toMessage({ role, content }: Message): types.Message {
  return { role, content: typeof content === "string" ? [{ tag: "text", val: content }] : [...content] };
}

function toToolChoice(choice: ToolChoice | undefined): types.ToolChoice | undefined {
  if (choice === undefined) {
    return undefined;
  }
  return typeof choice === "string" ? { tag: choice } : { tag: "tool", val: choice.tool };
}

function toResponseFormat(format: ResponseFormat | undefined): types.ResponseFormat | undefined {
  if (format === undefined) {
    return undefined;
  }
  return typeof format === "string"
    ? { tag: format }
    : { tag: "json-schema", val: { ...format, schema: toJson(format.schema) ?? "" } };
}

function toLocal(local: LocalOptions | undefined): types.LocalOptions | undefined {
  return (
    local && {
      contextKey: local.contextKey,
      grammar: local.grammar,
      jsonSchema: toJson(local.jsonSchema),
      sampling: local.sampling && toSampling(local.sampling),
      media: [...(local.media ?? [])],
    }
  );
}

function toSampling(sampling: Sampling): types.Sampling {
  return { ...sampling, logitBias: sampling.logitBias ?? [] };
}

function toExtensions(extensions: Extensions | undefined): types.Extension[] {
  return Object.entries(extensions ?? {}).map(([name, value]) => ({ name, value: JSON.stringify(value) ?? "null" }));
}

/** JSON text; a text is taken as one already. */
function toJson(value: unknown): string | undefined {
  return value === undefined || typeof value === "string" ? value : JSON.stringify(value);
}
