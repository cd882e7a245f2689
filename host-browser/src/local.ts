/**
 * Local models: an engine in a worker of this page as an answerer.
 */

import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import type { Answer } from "./channel.ts";
import { Engine, EngineWorker } from "./engine/engine.ts";
import type { EngineFile, Flavour, Projector } from "./engine/protocol.ts";
import { SippError } from "./error.ts";
import { hasMemory64, hasThreads, usualThreads } from "./platform.ts";
import type { Answerer } from "./switchboard.ts";

/** On how many threads the engine computes, and in which memory. */
export interface Threading {
  /** Which build is used. `auto`: threads where the page may share memory. */
  readonly wasmThreading: "auto" | "threads" | "single";
  /** Which memory is used. `auto`: 64-bit for models that 32-bit memory cannot hold. */
  readonly wasmMemory: "auto" | "memory32" | "memory64";
  /** Most threads. Default: the machine's, at most 8. */
  readonly threads?: number | undefined;
}

/** What a page must be to share memory. */
const ISOLATED =
  "serve the page with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp";

/** The largest model for 32-bit memory, in bytes. The last of its 4 GiB are for the context and for what is computed. */
const MOST_IN_32_BITS = 3 * 2 ** 30;

/** A model's files, ready to be loaded. */
export interface Ready {
  /** The model's name in messages. */
  readonly model: string;
  readonly files: readonly EngineFile[];
  /** The one of `files` that is the model's projector. */
  readonly projector?: Projector | undefined;
  /** Bytes of all files. */
  readonly bytes: number;
  readonly onProgress?: ((fraction: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Called when the engine no longer uses the files. */
  release?(): void;
  /** Called when they turned out to be no model. */
  reject?(): Promise<void>;
}

/** A loaded model. */
export class Local implements Answerer {
  readonly #engine: Engine;
  readonly #ready: Ready;

  private constructor(engine: Engine, ready: Ready) {
    this.#engine = engine;
    this.#ready = ready;
  }

  /** Loads a model, into the worker that was begun for it if that is of the right build. */
  static async load(
    ready: Ready,
    descriptor: endpoints.LocalDescriptor,
    threading: Threading,
    begun: EngineWorker | undefined,
  ): Promise<Local> {
    const { model, files, projector, bytes, onProgress, signal } = ready;
    try {
      const { flavour, threads } = choose(threading, descriptor.context, bytes);
      const fits = begun?.flavour === flavour && begun.threads === threads;
      const worker = fits ? begun : new EngineWorker(flavour, threads);
      return new Local(await Engine.load(worker, { model, files, projector, descriptor, onProgress, signal }), ready);
    } catch (error) {
      ready.release?.();
      if (error instanceof SippError && (error.details.fault === "corrupt" || error.details.fault === "not-gguf")) {
        await ready.reject?.();
      }
      throw error;
    }
  }

  get capabilities(): endpoints.Capabilities {
    return this.#engine.capabilities;
  }

  async generate(request: types.Request): Promise<Answer> {
    return this.#engine.generate(request);
  }

  async embed(request: types.EmbedRequest, signal: AbortSignal): Promise<types.Embedding> {
    return await this.#engine.embed(request, signal);
  }

  close(): void {
    this.#engine.close();
    this.#ready.release?.();
  }
}

/**
 * Begins a worker for a model before it is known how large that is, as for one of usual size.
 *
 * @throws SippError where the build that is wanted cannot be used.
 */
export function begin(threading: Threading, context: Threads | undefined): EngineWorker {
  const { flavour, threads } = choose(threading, context ?? {}, 0);
  return new EngineWorker(flavour, threads);
}

/** Threads that a descriptor asks for. */
type Threads = Pick<endpoints.ContextOptions, "nThreads" | "nThreadsBatch">;

/** Which build computes a model of so many bytes, and on how many threads. */
export function choose(threading: Threading, context: Threads, bytes: number): { flavour: Flavour; threads: number } {
  const { wasmThreading, wasmMemory } = threading;
  if (wasmThreading === "threads" && !hasThreads()) {
    throw new SippError(
      "threads-unavailable",
      `threads need shared memory: ${ISOLATED}, or leave wasmThreading at auto`,
    );
  }
  const asked = Math.max(context.nThreads ?? 0, context.nThreadsBatch ?? 0);
  const threads = Math.max(asked, threading.threads ?? usualThreads());
  if (wasmMemory === "memory64" || (wasmMemory === "auto" && bytes > MOST_IN_32_BITS)) {
    checkMemory64(wasmThreading, bytes);
    return { flavour: "memory64", threads };
  }
  if (wasmThreading === "single" || !hasThreads() || threads === 1) {
    return { flavour: "single", threads: 1 };
  }
  return { flavour: "threads", threads };
}

/** Refuses 64-bit memory where there is none. Its build has threads: one of them alone would take minutes for a word. */
function checkMemory64(wasmThreading: Threading["wasmThreading"], bytes: number): void {
  const why = `a model of ${(bytes / 1e9).toFixed(1)} GB is computed in 64-bit memory`;
  if (wasmThreading === "single") {
    throw new SippError("invalid-request", `${why}, which has no build without threads; leave wasmThreading at auto`);
  }
  if (!hasThreads()) {
    throw new SippError("threads-unavailable", `${why}, which needs shared memory: ${ISOLATED}`);
  }
  if (!hasMemory64()) {
    throw new SippError("model", `${why}, which WebAssembly has not here; use a smaller model`, { fault: "out-of-memory" });
  }
}
