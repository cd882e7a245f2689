/**
 * The models that are installed in this browser, as a page sees them. The work is done in a worker.
 */

import { SippError } from "../error.ts";
import { fromWorker, type Messages } from "../platform.ts";
import type { Ask, Reply, SourceFile } from "./protocol.ts";
import { type InstalledModel, lockOf } from "./registry.ts";
import type { LoadProgress, ModelFiles, ModelSource } from "./source.ts";

export type { InstalledFile, InstalledModel } from "./registry.ts";

/** Ids of installed models. */
const ID = /^model-[0-9a-f]{24}$/;

/** Shards are named so; the first one stands for all. */
const FIRST_SHARD = /-00001-of-(\d{5})\.gguf$/;

/** How much of this browser's storage is used, in bytes. */
export interface StorageUsage {
  readonly used: number;
  readonly quota: number;
  /** Whether the browser keeps it when it runs short. */
  readonly persisted: boolean;
}

/** How a model is obtained. */
export interface ObtainOptions {
  readonly sha256?: string | readonly string[] | undefined;
  readonly onProgress?: ((progress: LoadProgress) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
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
    const storage = globalThis.navigator.storage as StorageManager | undefined;
    if (storage?.getDirectory === undefined) {
      throw new SippError("storage-unavailable", "this page has no private file system; serve it from https or localhost");
    }
    // Only pages can ask, and nobody waits for a person's answer.
    storage.persist?.().catch(() => undefined);
    return new ModelStore();
  }

  /** Installs a model, or finds it installed. */
  async obtain(source: ModelSource, options: ObtainOptions): Promise<InstalledModel> {
    const files = typeof source === "object" && "model" in source ? source.model : source;
    if (typeof files === "string" && ID.test(files)) {
      const model = (await this.#ask({ verb: "find", model: files })) as InstalledModel | undefined;
      if (model === undefined) {
        throw new SippError("model", `there is no installed model \`${files}\``, { fault: "not-found" });
      }
      return model;
    }
    return (await this.#ask({ verb: "obtain", files: listed(files, options.sha256) }, options)) as InstalledModel;
  }

  /** Notes that a model is used, and keeps it from being deleted. Returns what ends that. */
  async hold(id: string): Promise<() => void> {
    await this.#ask({ verb: "touch", model: id });
    return await new Promise((held) => {
      const using = (): Promise<void> => new Promise((release) => held(release));
      navigator.locks.request(lockOf(id), { mode: "shared" }, using).catch(() => undefined);
    });
  }

  /** The installed models, the one used last first. */
  async list(): Promise<InstalledModel[]> {
    return (await this.#ask({ verb: "list" })) as InstalledModel[];
  }

  /** Deletes a model. One that is in use stays, and that is an error. */
  async remove(id: string): Promise<void> {
    await this.#ask({ verb: "remove", model: id });
  }

  /** Deletes models until so many bytes are free. Returns what it deleted. */
  async evict(bytes: number): Promise<InstalledModel[]> {
    return (await this.#ask({ verb: "evict", bytes })) as InstalledModel[];
  }

  /** Compares a model's files with what was stored. */
  async verify(id: string): Promise<void> {
    await this.#ask({ verb: "verify", model: id });
  }

  /** How much is used. */
  async usage(): Promise<StorageUsage> {
    const { usage = 0, quota = 0 } = await navigator.storage.estimate();
    return { used: usage, quota, persisted: (await navigator.storage.persisted?.()) ?? false };
  }

  /** Ends the worker. */
  close(): void {
    this.#messages.terminate();
    this.#fail(new SippError("closed", "the client is closed"));
  }

  async #ask(question: Question, { onProgress, signal }: ObtainOptions = {}): Promise<unknown> {
    this.#last += 1;
    const id = this.#last;
    if (signal?.aborted === true) {
      throw new SippError("aborted", "the load was aborted");
    }
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
    for (const waiting of this.#waiting.values()) {
      waiting.reject(error);
    }
    this.#waiting.clear();
  }
}

/** The files of a source with their hashes, shards in order. */
function listed(files: ModelFiles, sha256: ObtainOptions["sha256"]): SourceFile[] {
  const all = Array.isArray(files) ? (files as readonly (string | URL | File)[]) : expanded(files as string | URL | File);
  const hashes = typeof sha256 === "string" ? [sha256] : (sha256 ?? []);
  if (all.length === 0) {
    throw new SippError("invalid-model-source", "there is no file; name at least one");
  }
  if (hashes.length > 0 && hashes.length !== all.length) {
    throw new SippError("invalid-model-source", `there are ${all.length} files and ${hashes.length} hashes; give one for each`);
  }
  if (hashes.some((hash) => !/^[0-9a-f]{64}$/i.test(hash))) {
    throw new SippError("invalid-model-source", "sha256 must be 64 hexadecimal digits");
  }
  const kinds = new Set(all.map((one) => one instanceof File));
  if (kinds.size > 1) {
    throw new SippError("invalid-model-source", "files and addresses cannot be mixed; give one kind");
  }
  return all.map((one, index) => {
    const hash = hashes[index]?.toLowerCase();
    return one instanceof File ? { file: one, sha256: hash } : { url: absolute(one), sha256: hash };
  });
}

/** All shards of a model whose first one is named. */
function expanded(file: string | URL | File): readonly (string | URL | File)[] {
  if (file instanceof File) {
    return [file];
  }
  const url = absolute(file);
  const match = FIRST_SHARD.exec(new URL(url).pathname);
  if (match === null) {
    return [url];
  }
  const count = match[1] ?? "00001";
  return Array.from({ length: Number(count) }, (_, index) => url.replace(`-00001-of-${count}`, `-${String(index + 1).padStart(5, "0")}-of-${count}`));
}

function absolute(file: string | URL): string {
  const url = URL.parse(file, globalThis.document?.baseURI ?? globalThis.location.href);
  if (url === null || !["http:", "https:", "blob:"].includes(url.protocol)) {
    throw new SippError("invalid-model-source", `${String(file)} is no address of a file; give a URL, a File or an installed model's id`);
  }
  url.hash = "";
  return url.href;
}
