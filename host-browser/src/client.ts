/**
 * The client that an application holds: endpoints by name, and requests to them.
 *
 * The rules stand in the client component; here are the ways of the language around it: promises, signals, events.
 */

import type * as clientTypes from "../generated/client/interfaces/sipp-client-client.js";
import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import { Adding } from "./adding.ts";
import type { Answer } from "./channel.ts";
import type { ClientExports } from "./component.ts";
import { asSippError, SippError } from "./error.ts";
import type { Threading } from "./local.ts";
import {
  type CallOptions,
  type Descriptor,
  type EmbedCallOptions,
  type LocalDescriptor,
  type Message,
  type TextCallOptions,
  toChat,
  toDescriptor,
  toEmbed,
  toQuery,
} from "./request.ts";
import { EmbedRun, type Started, TextRun } from "./run.ts";
import { Vault } from "./secret.ts";
import type { LoadProgress } from "./store/source.ts";
import type { InstalledModel, ModelStore, StorageUsage } from "./store/store.ts";
import { type Answerer, type Open, Switchboard } from "./switchboard.ts";

/** How a client works. */
export interface ClientOptions {
  /** Which build of the engine local models use. Default: `auto`, threads where the page may share memory. */
  readonly wasmThreading?: Threading["wasmThreading"];
  /** Which memory local models use. Default: `auto`, 64-bit memory, which is slower, for models above 3 GiB. */
  readonly wasmMemory?: Threading["wasmMemory"];
  /** Most threads of a local model. Default: the machine's, at most 8. */
  readonly threads?: number;
}

/** What a client tells of itself. */
export type ClientEvent =
  | { readonly type: "load-progress"; readonly id: string; readonly progress: LoadProgress }
  | { readonly type: "endpoint-added"; readonly endpoint: clientTypes.EndpointRef }
  | { readonly type: "endpoint-removed"; readonly endpoint: clientTypes.EndpointRef }
  | { readonly type: "request-started"; readonly request: number; readonly operation: types.Operation }
  | { readonly type: "request-completed"; readonly request: number }
  | { readonly type: "request-failed"; readonly request: number; readonly error: SippError }
  | { readonly type: "closed" };

/** One client for language models, wherever they run. */
export class SippClient {
  readonly #threading: Threading;
  readonly #vault = new Vault();
  readonly #switchboard: Switchboard;
  readonly #listeners = new Set<(event: ClientEvent) => void>();
  /** What is being added, by its id, in the order in which it was asked for. */
  readonly #adding = new Map<string, Adding[]>();
  readonly #open: Open | undefined;
  #component: Promise<ComponentClient> | undefined;
  #store: Promise<ModelStore> | undefined;
  /** What runs, to be cancelled by `close`. */
  readonly #running = new Set<TextRun | EmbedRun>();
  #closed = false;

  /** `open` stands in for the host in tests: it answers in place of models and upstreams. */
  constructor(options: ClientOptions = {}, open?: Open) {
    const { wasmThreading = "auto", wasmMemory = "auto", threads } = options;
    this.#threading = { wasmThreading, wasmMemory, threads };
    this.#open = open;
    this.#switchboard = new Switchboard((id, descriptor) => this.#opened(id, descriptor));
  }

  /** Opens an endpoint and gives it an id. An endpoint of any kind that had the id is replaced once the new one is open. */
  async add(id: string, descriptor: Descriptor): Promise<clientTypes.EndpointRef> {
    const hosts = this.#open === undefined && !this.#closed;
    const adding = descriptor.kind === "local" && hosts ? this.#beginAdding(id, descriptor) : undefined;
    const queue = this.#adding.get(id) ?? [];
    try {
      const component = await this.#client();
      const model = descriptor.kind === "local" ? nameOf(descriptor.source) : "";
      const converted = toDescriptor(descriptor, model, (secret) => this.#vault.keep(secret));
      if (adding !== undefined) {
        queue.push(adding);
        this.#adding.set(id, queue);
      }
      const endpoint = await component.add(id, converted);
      this.#tell({ type: "endpoint-added", endpoint });
      return endpoint;
    } catch (thrown) {
      throw this.#openFailures.get(id) ?? asSippError(thrown);
    } finally {
      this.#openFailures.delete(id);
      if (adding !== undefined && queue.includes(adding)) {
        queue.splice(queue.indexOf(adding), 1);
      }
      adding?.end();
    }
  }

  /** Takes an endpoint out. Requests that run on it go on. */
  async remove(endpoint: clientTypes.EndpointRef): Promise<void> {
    try {
      (await this.#client()).remove(endpoint);
    } catch (thrown) {
      throw asSippError(thrown);
    }
    this.#tell({ type: "endpoint-removed", endpoint });
  }

  /** The endpoints, by id. */
  async list(): Promise<clientTypes.EndpointEntry[]> {
    return (await this.#client()).list();
  }

  /** Continues a raw prompt. */
  query(prompt: string, options: TextCallOptions = {}): TextRun {
    return this.#text("query", options, (component, call) => component.query([toQuery(prompt, options, call)]));
  }

  /** Answers a conversation. */
  chat(messages: readonly Message[], options: TextCallOptions = {}): TextRun {
    return this.#text("chat", options, (component, call) => component.chat([toChat(messages, options, call)]));
  }

  /** Turns texts into vectors. */
  embed(input: string | readonly string[], options: EmbedCallOptions = {}): EmbedRun {
    const inputs = typeof input === "string" ? [input] : input;
    const { controller, call } = this.#begin();
    const asked = this.#ask(call, (component) => component.embed([toEmbed(inputs, options, call)]));
    const answer = asked.then(({ answered }) => answered);
    return this.#watched("embed", call, new EmbedRun(answer, (reason) => controller.abort(reason), options));
  }

  /** The models that are installed in this browser. */
  async listLocal(): Promise<InstalledModel[]> {
    return await (await this.#models()).list();
  }

  /** Deletes an installed model. One that is loaded somewhere stays, and that is an error. */
  async removeLocal(id: string): Promise<void> {
    await (await this.#models()).remove(id);
  }

  /** Deletes models, those that were used longest ago first, until so many bytes are free. Returns what it deleted. */
  async evictLocal(bytes: number): Promise<InstalledModel[]> {
    return await (await this.#models()).evict(bytes);
  }

  /** Compares an installed model's files with what was stored, as far as their hashes are known. */
  async verifyLocal(id: string): Promise<void> {
    await (await this.#models()).verify(id);
  }

  /** How much of this browser's storage is used. */
  async storage(): Promise<StorageUsage> {
    return await (await this.#models()).usage();
  }

  /** Tells a listener what happens. Returns what ends that. */
  subscribeEvents(listener: (event: ClientEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Cancels what runs, takes every endpoint out, and gives their memory back; later calls fail with `closed`. */
  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    (await this.#client()).close();
    for (const run of this.#running) {
      run.cancel();
    }
    if (this.#store !== undefined) {
      (await this.#store).close();
    }
    this.#tell({ type: "closed" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Why an endpoint could not be opened, where the contract's error has no room for it. */
  readonly #openFailures = new Map<string, SippError>();

  #client(): Promise<ComponentClient> {
    this.#component ??= (async () => {
      const { instantiateClient } = await import("./component.ts");
      const imports = { "sipp:host/endpoints": this.#switchboard.imports() };
      const exported: ClientExports = await instantiateClient(imports, this.#switchboard.clock);
      return new exported.client.Client();
    })();
    return this.#component;
  }

  async #models(): Promise<ModelStore> {
    if (this.#closed) {
      // A model may still be looked for, and nobody would end the store's worker.
      throw new SippError("closed", "the client is closed");
    }
    this.#store ??= import("./store/store.ts").then(({ ModelStore }) => ModelStore.open());
    return await this.#store;
  }

  async #opened(id: string, descriptor: endpoints.Descriptor): Promise<Answerer> {
    const adding = descriptor.tag === "local" ? this.#adding.get(id)?.shift() : undefined;
    try {
      if (this.#open !== undefined) {
        return await this.#open(id, descriptor);
      }
      if (descriptor.tag === "local") {
        if (adding === undefined) {
          throw new SippError("internal", "the component opens a model that nobody added");
        }
        return await adding.open(descriptor.val);
      }
      const { openRemote } = await import("./provider.ts");
      return await openRemote(descriptor, this.#vault);
    } catch (thrown) {
      const error = asSippError(thrown);
      this.#openFailures.set(id, error);
      throw error;
    }
  }

  #beginAdding(id: string, descriptor: LocalDescriptor): Adding {
    const onProgress = (progress: LoadProgress): void => {
      descriptor.onProgress?.(progress);
      this.#tell({ type: "load-progress", id, progress });
    };
    return new Adding({ descriptor, threading: this.#threading, onProgress, store: () => this.#models() });
  }

  #begin(): { controller: AbortController; call: number } {
    const controller = new AbortController();
    return { controller, call: this.#switchboard.begin(controller) };
  }

  /** Asks the component, and ends the call. What was thrown behind it comes back as it was. */
  async #ask<A>(call: number, ask: (component: ComponentClient) => Promise<A>): Promise<{ answered: A; answer: Answer | undefined }> {
    // A client that cannot be made is not this call's failure alone.
    const component = await this.#client();
    try {
      const answered = await ask(component);
      return { answered, answer: this.#switchboard.end(call).answer };
    } catch (thrown) {
      throw this.#switchboard.end(call).thrown ?? thrown;
    }
  }

  #text(
    operation: types.Operation,
    options: CallOptions,
    ask: (component: ComponentClient, call: number) => Promise<clientTypes.TextAnswer>,
  ): TextRun {
    const { controller, call } = this.#begin();
    const asked = this.#ask(call, (component) => ask(component, call));
    const started = asked.then(({ answered: { endpoint, generation }, answer }): Started => {
      discard(generation);
      if (answer === undefined) {
        throw new SippError("internal", "the component answered a call that nobody answered");
      }
      return { endpoint, answer };
    });
    return this.#watched(operation, call, new TextRun(started, (reason) => controller.abort(reason), options));
  }

  #watched<R extends TextRun | EmbedRun>(operation: types.Operation, request: number, run: R): R {
    this.#tell({ type: "request-started", request, operation });
    this.#running.add(run);
    const response: Promise<unknown> = run.response.finally(() => this.#running.delete(run));
    response.then(
      () => this.#tell({ type: "request-completed", request }),
      (error: unknown) => this.#tell({ type: "request-failed", request, error: asSippError(error) }),
    );
    return run;
  }

  #tell(event: ClientEvent): void {
    for (const listener of this.#listeners) {
      listener(event);
    }
  }
}

type ComponentClient = InstanceType<ClientExports["client"]["Client"]>;

/** What names a source to the component, and in messages. */
function nameOf(source: LocalDescriptor["source"]): string {
  if (typeof source === "string") {
    return source;
  }
  if (source instanceof URL) {
    return source.href;
  }
  if (typeof File !== "undefined" && source instanceof File) {
    return source.name;
  }
  if (Array.isArray(source)) {
    const [first] = source as readonly (string | URL | File)[];
    return first === undefined ? "" : nameOf(first);
  }
  return "model" in source ? nameOf(source.model) : "";
}

/** Reads what the component handed on, so that jco frees it; it is empty. */
function discard(generation: types.Generation): void {
  const read = async (): Promise<void> => {
    for await (const _ of generation.tokens) {
      // Nothing comes.
    }
    await generation.outcome;
  };
  read().catch(() => undefined);
}
