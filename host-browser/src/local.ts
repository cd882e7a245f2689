/**
 * Local models: an engine in a worker of this page as an answerer.
 */

import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import type { Answer } from "./channel.ts";
import { Engine } from "./engine/engine.ts";
import type { EngineFile, Flavour, Projector } from "./engine/protocol.ts";
import { SippError } from "./error.ts";
import { hasThreads, usualThreads } from "./platform.ts";
import type { Answerer } from "./switchboard.ts";

/** On how many threads the engine computes. */
export interface Threading {
  /** Which build is used. `auto`: threads where the page may share memory. */
  readonly wasmThreading: "auto" | Flavour;
  /** Most threads. Default: the machine's, at most 8. */
  readonly threads?: number | undefined;
}

/** A model's files, ready to be loaded. */
export interface Ready {
  /** The model's name in messages. */
  readonly model: string;
  readonly files: readonly EngineFile[];
  /** The one of `files` that is the model's projector. */
  readonly projector?: Projector | undefined;
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

  /** Loads a model. */
  static async load(ready: Ready, descriptor: endpoints.LocalDescriptor, threading: Threading): Promise<Local> {
    const { flavour, threads } = choose(threading, descriptor.context);
    const { model, files, projector, onProgress, signal } = ready;
    try {
      return new Local(await Engine.load({ flavour, threads, model, files, projector, descriptor, onProgress, signal }), ready);
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

function choose(threading: Threading, context: endpoints.ContextOptions): { flavour: Flavour; threads: number } {
  const { wasmThreading } = threading;
  if (wasmThreading === "threads" && !hasThreads()) {
    throw new SippError(
      "threads-unavailable",
      "threads need shared memory, which a page has when it is served with Cross-Origin-Opener-Policy: same-origin and " +
        "Cross-Origin-Embedder-Policy: require-corp; serve it so, or leave wasmThreading at auto",
    );
  }
  const asked = Math.max(context.nThreads ?? 0, context.nThreadsBatch ?? 0);
  const threads = Math.max(asked, threading.threads ?? usualThreads());
  if (wasmThreading === "single" || !hasThreads() || threads === 1) {
    return { flavour: "single", threads: 1 };
  }
  return { flavour: "threads", threads };
}
