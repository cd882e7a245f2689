/**
 * One client for language models, wherever they run: in the page, behind a gateway, at a provider.
 *
 * The engine and the components are loaded when something needs them.
 */

export type {
  Capabilities,
  ContextOptions,
  Routes,
  SchedulerOptions,
  Timeouts,
} from "../generated/client/interfaces/sipp-host-endpoints.js";
export type { EndpointEntry, EndpointRef } from "../generated/client/interfaces/sipp-client-client.js";
export type {
  CancelReason,
  Delta,
  FinishReason,
  Metadata,
  Operation,
  Part,
  Role,
  Stats,
  TokenBatch,
  TokenLogprob,
  ToolCall,
  UpstreamPayload,
  Usage,
} from "../generated/client/interfaces/sipp-inference-types.js";
export { type ClientEvent, type ClientOptions, SippClient } from "./client.ts";
export { type BrowserKind, type ContractKind, SippError, type SippErrorDetails, type StorageFigures } from "./error.ts";
export type {
  Authentication,
  CacheOptions,
  CallOptions,
  Descriptor,
  EmbedCallOptions,
  Extensions,
  GatewayDescriptor,
  LocalDescriptor,
  LocalOptions,
  Message,
  Placement,
  ProviderDescriptor,
  ResidencyOptions,
  ResponseFormat,
  Sampling,
  SecretSource,
  TextCallOptions,
  Tool,
  ToolChoice,
} from "./request.ts";
export type { EmbedResponse, EmbedRun, TextResponse, TextRun } from "./run.ts";
export type { LoadProgress, ModelFiles, ModelSource } from "./store/source.ts";
export type { InstalledModel, StorageUsage } from "./store/store.ts";
