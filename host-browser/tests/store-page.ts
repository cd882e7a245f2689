/**
 * The page of the store's tests: one store, and what the tests do with it, in words that cross between processes.
 */

import { SippError, type SippErrorDetails } from "../src/error.ts";
import type { LoadProgress, ModelSource } from "../src/store/source.ts";
import { type InstalledModel, ModelStore, type StorageUsage } from "../src/store/store.ts";

/** What became of an attempt. */
export interface Attempt<T> {
  readonly value?: T;
  readonly error?: { readonly kind: string; readonly message: string; readonly details: SippErrorDetails };
}

/** A file that the page makes itself: a name, and a body that its server has. */
export interface LocalFile {
  readonly name: string;
  readonly from: string;
}

/** What the tests call. */
export interface Stage {
  /** Progress of the last `obtain`. */
  readonly seen: LoadProgress[];
  obtain(source: ModelSource, sha256?: string | readonly string[]): Promise<Attempt<InstalledModel>>;
  obtainFiles(files: readonly LocalFile[], sha256?: string | readonly string[]): Promise<Attempt<InstalledModel>>;
  /** Aborts the `obtain` that runs. */
  abort(): void;
  list(): Promise<InstalledModel[]>;
  remove(id: string): Promise<Attempt<void>>;
  verify(id: string): Promise<Attempt<void>>;
  evict(bytes: number): Promise<Attempt<InstalledModel[]>>;
  hold(id: string): Promise<Attempt<void>>;
  /** Ends the holds of this page. */
  release(): void;
  usage(): Promise<StorageUsage>;
  /** SHA-256 of each stored file of a model. */
  hashes(model: InstalledModel): Promise<string[]>;
  /** Changes one byte of a stored file. */
  damage(model: InstalledModel, at: number): Promise<void>;
  /** Bytes of all files in the private file system. */
  stored(): Promise<number>;
}

declare global {
  interface Window {
    stage: Stage;
  }
}

let opened: Promise<ModelStore> | undefined;
let controller = new AbortController();
let held: (() => void)[] = [];
const seen: LoadProgress[] = [];

function store(): Promise<ModelStore> {
  return (opened ??= ModelStore.open());
}

async function attempt<T>(work: (store: ModelStore) => Promise<T>): Promise<Attempt<T>> {
  try {
    return { value: await work(await store()) };
  } catch (error) {
    if (error instanceof SippError) {
      const { cause: _, ...details } = error.details;
      return { error: { kind: error.kind, message: error.message, details } };
    }
    return { error: { kind: "none of ours", message: String(error), details: {} } };
  }
}

async function obtain(source: ModelSource, sha256?: string | readonly string[]): Promise<Attempt<InstalledModel>> {
  seen.length = 0;
  controller = new AbortController();
  const { signal } = controller;
  return await attempt((store) => store.obtain(source, { sha256, signal, onProgress: (progress) => void seen.push(progress) }));
}

async function opfsFile(path: string): Promise<FileSystemFileHandle> {
  const names = path.split("/");
  let folder = await navigator.storage.getDirectory();
  for (const name of names.slice(0, -1)) {
    folder = await folder.getDirectoryHandle(name);
  }
  return await folder.getFileHandle(names.at(-1) ?? "");
}

async function bytesIn(folder: FileSystemDirectoryHandle): Promise<number> {
  let sum = 0;
  for await (const entry of (folder as unknown as { values(): AsyncIterable<FileSystemHandle> }).values()) {
    sum += entry.kind === "file" ? (await (entry as FileSystemFileHandle).getFile()).size : await bytesIn(entry as FileSystemDirectoryHandle);
  }
  return sum;
}

window.stage = {
  seen,
  obtain,
  async obtainFiles(files, sha256) {
    const made = await Promise.all(files.map(async ({ name, from }) => new File([await (await fetch(from)).blob()], name)));
    const [first] = made;
    return await obtain(made.length === 1 && first !== undefined ? first : made, sha256);
  },
  abort: () => controller.abort(),
  list: async () => await (await store()).list(),
  remove: (id) => attempt((store) => store.remove(id)),
  verify: (id) => attempt((store) => store.verify(id)),
  evict: (bytes) => attempt((store) => store.evict(bytes)),
  hold: (id) => attempt(async (store) => void held.push(await store.hold(id))),
  release() {
    held.forEach((end) => end());
    held = [];
  },
  usage: async () => await (await store()).usage(),
  async hashes(model) {
    return await Promise.all(
      model.files.map(async ({ path }) => {
        const digest = await crypto.subtle.digest("SHA-256", await (await (await opfsFile(path)).getFile()).arrayBuffer());
        return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
      }),
    );
  },
  async damage(model, at) {
    const handle = await opfsFile(model.files[0]?.path ?? "");
    const byte = new Uint8Array(await (await handle.getFile()).slice(at, at + 1).arrayBuffer());
    const writable = await handle.createWritable({ keepExistingData: true });
    await writable.write({ type: "write", position: at, data: Uint8Array.of((byte[0] ?? 0) ^ 1) });
    await writable.close();
  },
  stored: async () => await bytesIn(await navigator.storage.getDirectory()),
};
