/**
 * A model that is being added. Its files are looked for and the engine is compiled while the client component is loaded,
 * which then asks for the model or refuses it.
 */

import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type { EngineWorker } from "./engine/engine.ts";
import { SippError } from "./error.ts";
import type { Local, Ready, Threading } from "./local.ts";
import type { LocalDescriptor } from "./request.ts";
import type { LoadProgress } from "./store/source.ts";
import type { ModelStore } from "./store/store.ts";

/** What a model is added with. */
export interface Begin {
  readonly descriptor: LocalDescriptor;
  readonly threading: Threading;
  readonly onProgress: (progress: LoadProgress) => void;
  /** Opens the store, where there is one. */
  readonly store: () => Promise<ModelStore>;
}

/** A model that is being added. */
export class Adding {
  readonly #threading: Threading;
  readonly #controller = new AbortController();
  readonly #files: Promise<Ready>;
  readonly #worker: Promise<EngineWorker | undefined>;
  #opened = false;

  constructor({ descriptor, threading, onProgress, store }: Begin) {
    this.#threading = threading;
    this.#files = filesOf(descriptor, this.#controller.signal, onProgress, store);
    // Opening says why they cannot be had.
    this.#files.catch(() => undefined);
    this.#worker = workerOf(descriptor, threading);
  }

  /** Loads it. */
  async open(descriptor: endpoints.LocalDescriptor): Promise<Local> {
    this.#opened = true;
    const { Local } = await import("./local.ts");
    return await Local.load(await this.#files, descriptor, this.#threading, await this.#worker);
  }

  /** Gives back what opening it did not take. */
  end(): void {
    this.#worker.then((worker) => worker?.endUnlessLoading());
    if (!this.#opened) {
      this.#controller.abort(new SippError("aborted", "the model was not added"));
      this.#files.then((files) => files.release?.()).catch(() => undefined);
    }
  }
}

async function filesOf(
  descriptor: LocalDescriptor,
  ended: AbortSignal,
  onProgress: Begin["onProgress"],
  store: Begin["store"],
): Promise<Ready> {
  const signal = descriptor.signal === undefined ? ended : AbortSignal.any([descriptor.signal, ended]);
  const { ready } = await import("./store/ready.ts");
  return await ready({ ...descriptor, signal }, onProgress, store);
}

async function workerOf({ context }: LocalDescriptor, threading: Threading): Promise<EngineWorker | undefined> {
  try {
    const { begin } = await import("./local.ts");
    return begin(threading, context);
  } catch {
    // Opening says why.
    return undefined;
  }
}
