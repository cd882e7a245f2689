/**
 * What a host and an engine's worker say to each other.
 *
 * The engine's own events pass through as they are; their shape is that of the contract's types.
 */

import type * as endpoints from "../../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../../generated/client/interfaces/sipp-inference-types.js";

/** Which build of the engine: one that computes on several threads, one that does so in 64-bit memory, or one that needs no
 * shared memory. */
export type Flavour = "threads" | "memory64" | "single";

/** A file of a model: its name, and where its bytes are. */
export type EngineFile = { readonly name: string } & (
  | { readonly opfs: string }
  | { readonly blob: Blob }
  | { readonly path: string }
);

/** A file that is a model's projector. */
export interface Projector {
  /** The file's name. */
  readonly file: string;
  /** Its name in messages. */
  readonly name: string;
}

/** What a worker is asked. */
export type Command =
  | {
      readonly type: "begin";
      /** Where the engine's module lies. */
      readonly module: string;
      /** Where its WebAssembly lies. */
      readonly wasm: string;
      readonly threads: number;
    }
  | {
      readonly type: "load";
      readonly threads: number;
      /** The model's name in messages. */
      readonly model: string;
      /** The model, or its shards in order, and its projector. */
      readonly files: readonly EngineFile[];
      readonly projector?: Projector | undefined;
      readonly descriptor: endpoints.LocalDescriptor;
    }
  | { readonly type: "generate"; readonly call: number; readonly request: types.Request }
  | { readonly type: "embed"; readonly call: number; readonly request: types.EmbedRequest }
  | { readonly type: "cancel"; readonly call: number };

/** What is known about a loaded model. */
export interface LoadedModel {
  readonly name?: string;
  readonly architecture: string;
  readonly description: string;
  readonly parameters: number;
  readonly sizeBytes: number;
  readonly quantization: string;
  readonly contextLength: number;
  /** Tokens of prompt and answer together that one request may have. */
  readonly context: number;
  readonly layers: number;
  readonly vocabulary: number;
  readonly chatTemplate?: string;
  readonly embeddingDimensions?: number;
}

/** What happened in the engine. */
export type EngineEvent =
  | { readonly type: "loaded"; readonly capabilities: endpoints.Capabilities; readonly model: LoadedModel }
  | { readonly type: "failed"; readonly error: types.Error }
  | { readonly type: "batch"; readonly call: number; readonly batch: types.TokenBatch }
  | { readonly type: "done"; readonly call: number; readonly result: types.Result<types.Outcome, types.Error> }
  | { readonly type: "embedded"; readonly call: number; readonly result: types.Result<types.Embedding, types.Error> };

/** What a worker tells. */
export type Report =
  | { readonly type: "events"; readonly events: readonly EngineEvent[] }
  | { readonly type: "progress"; readonly fraction: number }
  | { readonly type: "crashed"; readonly message: string };
