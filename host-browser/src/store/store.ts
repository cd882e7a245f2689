/**
 * The models that are installed in this browser, as a page sees them. The work is done in a worker.
 */

import { SippError } from "../error.ts";
import { fromWorker, type Messages } from "../platform.ts";
import type { Obtained } from "./obtain.ts";
import { root } from "./opfs.ts";
import type { Ask, Reply } from "./protocol.ts";
import { type InstalledModel, lockOf, notInstalled } from "./registry.ts";
import { listed, type LoadProgress, type ModelSource } from "./source.ts";

export type { Obtained } from "./obtain.ts";
export type { InstalledFile, InstalledModel } from "./registry.ts";

/** How much of this browser's storage is used, in bytes. */
export interface StorageUsage {
  readonly used: number;
  readonly quota: number;
  /** Whether the browser keeps it when it runs short. */
  readonly persisted: boolean;
}

/** A download that broke off and can go on. */
export interface PartialDownload {
  readonly source: string;
  readonly bytes: number | null;
  readonly loaded: number;
}

/** What goes with a question. */
export interface AskOptions {
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** How a model is obtained. */
export interface ObtainOptions extends AskOptions {
  /** The hash that each file must have, the projector's last. */
  readonly sha256?: string | readonly string[] | undefined;
}

interface Waiting {
  resolve(value: unknown): void;
  reject(error: SippError): void;
  progress(progress: LoadProgress): void;
}

/** A question without its number. */
type Question = Ask extends infer One ? (One extends { id: number } ? Omit<One, "id"> : never) : never;

/** The installed models. */
export class ModelStore {
  readonly #messages: Messages;
  readonly #waiting = new Map<number, Waiting>();
  #failure: SippError | undefined;
  #last = 0;

  private constructor() {
    const worker = new Worker(new URL("./store/worker.js", import.meta.url), { type: "module" });
    this.#messages = fromWorker(worker, {
      message: (message) => this.#hear(message as Reply),
      error: (text) => this.#fail(new SippError("internal", `the store's worker failed: ${text}`)),
    });
  }

  /** Opens the store. The browser is asked to keep it; whether it does, `usage` tells. */
  static async open(): Promise<ModelStore> {
    await root();
    // Only pages can ask, and nobody waits for a person's answer.
    (navigator.storage as Partial<StorageManager>).persist?.().catch(() => undefined);
    return new ModelStore();
  }

  /** Installs a model, or finds it installed. What breaks off goes on where it was, the next time. */
  async obtain(source: ModelSource, options: ObtainOptions = {}): Promise<Obtained> {
    const base = globalThis.document?.baseURI ?? globalThis.location.href;
    const list = listed(source, options.sha256, base);
    if ("id" in list) {
      const model = (await this.#ask({ verb: "find", model: list.id })) as InstalledModel | undefined;
      if (model === undefined) {
        throw notInstalled(list.id);
      }
      return { ...model, how: "installed" };
    }
    return (await this.#ask({ verb: "obtain", ...list }, options)) as Obtained;
  }

  /** Notes that a model is used, and keeps it from being deleted. Returns what ends that. */
  async hold(id: string): Promise<() => void> {
    const release = await new Promise<() => void>((held, failed) => {
      const using = (): Promise<void> => new Promise((end) => held(end));
      navigator.locks.request(lockOf(id), { mode: "shared" }, using).catch(failed);
    });
    try {
      await this.#ask({ verb: "touch", model: id });
      return release;
    } catch (error) {
      release();
      throw error;
    }
  }

  /** Notes that a model is used now. */
  async touch(id: string): Promise<void> {
    await this.#ask({ verb: "touch", model: id });
  }

  /** The installed models, the one used last first. */
  async list(): Promise<InstalledModel[]> {
    return (await this.#ask({ verb: "list" })) as InstalledModel[];
  }

  /** Downloads that broke off, and that nobody works at now. They are kept for a week. */
  async partial(): Promise<PartialDownload[]> {
    return (await this.#ask({ verb: "partial" })) as PartialDownload[];
  }

  /** Deletes a model. One that is in use stays, and that is an error. */
  async remove(id: string): Promise<void> {
    await this.#ask({ verb: "remove", model: id });
  }

  /** Deletes models, the one used longest ago first, until so many bytes are free. Returns what it deleted. */
  async evict(bytes: number): Promise<InstalledModel[]> {
    return (await this.#ask({ verb: "evict", bytes })) as InstalledModel[];
  }

  /** Compares a model's files with what was stored. */
  async verify(id: string, options: AskOptions = {}): Promise<void> {
    await this.#ask({ verb: "verify", model: id }, options);
  }

  /** How much is used. */
  async usage(): Promise<StorageUsage> {
    const { usage = 0, quota = 0 } = await navigator.storage.estimate();
    return { used: usage, quota, persisted: (await navigator.storage.persisted?.()) ?? false };
  }

  /** Ends the worker. What is on its way stays as it was noted last. */
  close(): void {
    this.#messages.terminate();
    this.#fail(new SippError("closed", "the client is closed"));
  }

  async #ask(question: Question, { onProgress, signal }: AskOptions = {}): Promise<unknown> {
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
    if (signal?.aborted === true) {
      throw new SippError("aborted", "the load was aborted");
    }
    this.#last += 1;
    const id = this.#last;
    const onAbort = (): void => this.#messages.post({ id, verb: "abort" } satisfies Ask);
    signal?.addEventListener("abort", onAbort);
    try {
      return await new Promise((resolve, reject) => {
        this.#waiting.set(id, { resolve, reject, progress: (progress) => onProgress?.(progress) });
        this.#messages.post({ id, ...question });
      });
    } finally {
      this.#waiting.delete(id);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  #hear(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if ("progress" in reply) {
      waiting?.progress(reply.progress);
    } else if ("error" in reply) {
      waiting?.reject(new SippError(reply.error.kind, reply.error.message, reply.error.details));
    } else {
      waiting?.resolve(reply.value);
    }
  }

  #fail(error: SippError): void {
    this.#failure ??= error;
    for (const waiting of this.#waiting.values()) {
      waiting.reject(error);
    }
    this.#waiting.clear();
  }
}
