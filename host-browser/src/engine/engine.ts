/**
 * An engine in its worker, seen from the host: one loaded model that answers requests.
 *
 * Memory of WebAssembly never shrinks, so every model has a worker of its own, and ending the worker gives its memory back.
 */

import type * as endpoints from "../../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../../generated/client/interfaces/sipp-inference-types.js";
import { Answer } from "../channel.ts";
import { fromContract, SippError } from "../error.ts";
import { fromWorker, type Messages, type MessageListener, node, startNodeWorker } from "../platform.ts";
import type { Command, EngineEvent, EngineFile, Flavour, Projector, Report } from "./protocol.ts";

/** What to load. */
export interface Load {
  readonly model: string;
  readonly files: readonly EngineFile[];
  readonly projector?: Projector | undefined;
  readonly descriptor: endpoints.LocalDescriptor;
  /** Told how much is done, from 0 to 1. */
  readonly onProgress?: ((fraction: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What answers a call that runs. */
interface Running {
  event(event: EngineEvent): void;
  fail(error: SippError): void;
}

/** A loaded model. */
export class Engine {
  readonly capabilities: endpoints.Capabilities;
  readonly #worker: EngineWorker;

  private constructor(worker: EngineWorker, loaded: Extract<EngineEvent, { type: "loaded" }>) {
    this.#worker = worker;
    this.capabilities = loaded.capabilities;
  }

  /** Loads a model into a worker, which is its from then on. */
  static async load(worker: EngineWorker, load: Load): Promise<Engine> {
    try {
      return new Engine(worker, await worker.load(load));
    } catch (error) {
      worker.end();
      throw error;
    }
  }

  /** Begins a request for text. */
  generate(request: types.Request): Answer {
    let call = 0;
    const answer = new Answer(() => this.#worker.post({ type: "cancel", call }));
    call = this.#worker.begin({
      event: (event) => {
        if (event.type === "batch") {
          answer.push(event.batch);
        } else if (event.type === "done") {
          answer.finish(event.result);
        }
      },
      fail: (error) => answer.finish({ tag: "err", val: { tag: "internal", val: error.message } }),
    });
    this.#worker.post({ type: "generate", call, request });
    return answer;
  }

  /** Answers a request for vectors. */
  async embed(request: types.EmbedRequest, signal: AbortSignal): Promise<types.Embedding> {
    let onAbort = (): void => undefined;
    const result = await new Promise<types.Result<types.Embedding, types.Error>>((resolve, reject) => {
      const call = this.#worker.begin({
        event: (event) => event.type === "embedded" && resolve(event.result),
        fail: reject,
      });
      onAbort = () => this.#worker.post({ type: "cancel", call });
      signal.addEventListener("abort", onAbort);
      this.#worker.post({ type: "embed", call, request });
    }).finally(() => signal.removeEventListener("abort", onAbort));
    if (result.tag === "err") {
      throw fromContract(result.val);
    }
    return { ...result.val, vectors: result.val.vectors.map((vector) => Float32Array.from(vector)) };
  }

  /** Ends the worker once the last request ended. */
  close(): void {
    this.#worker.endWhenIdle();
  }
}

/** Where the builds of the engine lie. Written out, so that bundlers find each file and may give it another name. */
const BUILDS: Readonly<Record<Flavour, () => { module: URL; wasm: URL }>> = {
  single: () => ({
    module: new URL("./engine/single/sipp-engine.mjs", import.meta.url),
    wasm: new URL("./engine/single/sipp-engine.wasm", import.meta.url),
  }),
  threads: () => ({
    module: new URL("./engine/threads/sipp-engine.mjs", import.meta.url),
    wasm: new URL("./engine/threads/sipp-engine.wasm", import.meta.url),
  }),
  memory64: () => ({
    module: new URL("./engine/memory64/sipp-engine.mjs", import.meta.url),
    wasm: new URL("./engine/memory64/sipp-engine.wasm", import.meta.url),
  }),
};

/** A worker, and who waits for what it tells. It compiles the engine at once, and loads a model when it is told to. */
export class EngineWorker {
  readonly flavour: Flavour;
  readonly threads: number;
  readonly #messages: Messages;
  readonly #running = new Map<number, Running>();
  #loading: { loaded(event: EngineEvent): void; progress(fraction: number): void; fail(error: SippError): void } | undefined;
  #last = 0;
  #ended: SippError | undefined;
  #closing = false;
  #loads = false;

  constructor(flavour: Flavour, threads: number) {
    this.flavour = flavour;
    this.threads = threads;
    const listener: MessageListener = {
      message: (message) => this.#hear(message as Report),
      error: (text) => this.#fail(new SippError("internal", `the engine's worker failed: ${text}`)),
    };
    this.#messages =
      node === undefined
        ? fromWorker(new Worker(new URL("./engine/worker.js", import.meta.url), { type: "module" }), listener)
        : startNodeWorker(new URL("./engine/worker.js", import.meta.url), listener);
    const { module, wasm } = BUILDS[flavour]();
    this.post({ type: "begin", module: module.href, wasm: wasm.href, threads });
  }

  async load(load: Load): Promise<Extract<EngineEvent, { type: "loaded" }>> {
    const { model, files, projector, descriptor, onProgress, signal } = load;
    this.#loads = true;
    let onAbort = (): void => undefined;
    const event = await new Promise<EngineEvent>((resolve, reject) => {
      if (this.#ended !== undefined) {
        throw this.#ended;
      }
      this.#loading = { loaded: resolve, progress: (fraction) => onProgress?.(fraction), fail: reject };
      onAbort = () => reject(new SippError("aborted", "the load was aborted"));
      signal?.addEventListener("abort", onAbort);
      this.post({ type: "load", threads: this.threads, model, files, projector, descriptor });
    }).finally(() => signal?.removeEventListener("abort", onAbort));
    this.#loading = undefined;
    if (event.type === "failed") {
      throw fromContract(event.error);
    }
    if (event.type !== "loaded") {
      throw new SippError("internal", `the engine answered a load with ${event.type}`);
    }
    return event;
  }

  begin(running: Running): number {
    if (this.#ended !== undefined) {
      throw this.#ended;
    }
    this.#last += 1;
    this.#running.set(this.#last, running);
    return this.#last;
  }

  post(command: Command): void {
    if (this.#ended === undefined) {
      this.#messages.post(command);
    }
  }

  endWhenIdle(): void {
    this.#closing = true;
    if (this.#running.size === 0) {
      this.end();
    }
  }

  /** Ends one that was begun in vain. */
  endUnlessLoading(): void {
    if (!this.#loads) {
      this.end();
    }
  }

  end(): void {
    this.#fail(new SippError("internal", "the endpoint went away"));
  }

  #hear(report: Report): void {
    switch (report.type) {
      case "progress":
        this.#loading?.progress(report.fraction);
        break;
      case "crashed":
        this.#fail(crashed(report.message));
        break;
      case "events":
        for (const event of report.events) {
          this.#take(event);
        }
        break;
    }
  }

  #take(event: EngineEvent): void {
    if (event.type === "loaded" || event.type === "failed") {
      this.#loading?.loaded(event);
      return;
    }
    const running = this.#running.get(event.call);
    if (event.type !== "batch") {
      this.#running.delete(event.call);
    }
    running?.event(event);
    if (this.#closing && this.#running.size === 0) {
      this.end();
    }
  }

  #fail(error: SippError): void {
    if (this.#ended !== undefined) {
      return;
    }
    this.#ended = error;
    this.#messages.terminate();
    this.#loading?.fail(error);
    for (const running of this.#running.values()) {
      running.fail(error);
    }
    this.#running.clear();
  }
}

function crashed(message: string): SippError {
  if (/memory|Array buffer allocation/i.test(message)) {
    const text = `the model does not fit into the memory that a page may use: ${message}`;
    return new SippError("model", text, { fault: "out-of-memory" });
  }
  return new SippError("internal", `the engine crashed: ${message}`);
}
