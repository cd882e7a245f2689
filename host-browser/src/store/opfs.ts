/**
 * The store's folders in the origin's private file system, and the few things that are done to files there.
 *
 * ```
 * sipp/files/<name>.gguf       bytes: of an installed model, or on their way, then in their full length
 * sipp/partial/<key>.json      a file on its way: where from, which bytes are there, the hash so far
 * sipp/models/<id>.json        an installed model and its files: written last, and whole or not at all
 * sipp/models/<id>.used        when it was used last, milliseconds as text
 * ```
 *
 * No file is ever moved or copied: a model is there from the moment that its description is. A file that neither a
 * description nor a note of `partial` names was left by a crash, and is removed when a store opens. Small files are
 * written beside their place, as `….draft`, flushed, and moved over it in one step.
 */

import { SippError } from "../error.ts";

/** Synchronous access to a file; only workers have it, and the types of pages do not know it. */
export interface AccessHandle {
  close(): void;
  flush(): void;
  getSize(): number;
  read(into: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  write(from: Uint8Array, options: { at: number }): number;
}

interface Movable {
  move(folder: FileSystemDirectoryHandle, name: string): Promise<void>;
  createSyncAccessHandle(): Promise<AccessHandle>;
}

type Entries = AsyncIterable<[string, FileSystemHandle]>;

/** A tab that just died may hold its files for a moment. Tries to open them, and milliseconds between. */
const TRIES = 40;
const WAIT = 50;

/** A folder of the store, made if it is not there. */
export async function folder(name: "files" | "partial" | "models"): Promise<FileSystemDirectoryHandle> {
  const sipp = await (await root()).getDirectoryHandle("sipp", { create: true });
  return await sipp.getDirectoryHandle(name, { create: true });
}

/** Where a file of `files` lies, below the root of the private file system. */
export function pathOf(name: string): string {
  return `sipp/files/${name}`;
}

/** Fails where nothing can be stored, saying why. */
export async function root(): Promise<FileSystemDirectoryHandle> {
  const { navigator } = globalThis as { navigator?: { storage?: Partial<StorageManager>; locks?: LockManager } };
  if (navigator?.storage?.getDirectory === undefined || navigator.locks === undefined) {
    throw globalThis.isSecureContext === false
      ? unavailable("this page may not store files; serve it from https or localhost", "insecure-context")
      : unavailable("this browser has no private file system or no locks; use a newer one", "unsupported");
  }
  try {
    return await navigator.storage.getDirectory();
  } catch (cause) {
    throw unavailable("this browser stores no files here, as in a private window; use an ordinary one", "denied", cause);
  }
}

function unavailable(message: string, reason: string, cause?: unknown): SippError {
  return new SippError("storage-unavailable", message, { reason, cause });
}

/** Opens a file for reading and writing, alone; made if it is not there. */
export async function access(folder: FileSystemDirectoryHandle, name: string): Promise<AccessHandle> {
  const file = (await folder.getFileHandle(name, { create: true })) as unknown as Movable;
  if (file.createSyncAccessHandle === undefined) {
    throw unavailable("this browser's workers cannot write files at once; use a newer one", "unsupported");
  }
  for (let tried = 1; ; tried += 1) {
    try {
      return await file.createSyncAccessHandle();
    } catch (error) {
      if (!isNamed(error, "NoModificationAllowedError") || tried === TRIES) {
        throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, WAIT));
    }
  }
}

/** Writes all of a piece, or fails as a full disk does. */
export function writeAll(handle: AccessHandle, bytes: Uint8Array, at: number): void {
  if (handle.write(bytes, { at }) !== bytes.length) {
    throw new DOMException("a write was cut short", "QuotaExceededError");
  }
}

/** Writes a small file whole or not at all. */
export async function writeText(folder: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const draft = `${name}.draft`;
  const handle = await access(folder, draft);
  try {
    const bytes = new TextEncoder().encode(text);
    handle.truncate(bytes.length);
    writeAll(handle, bytes, 0);
    handle.flush();
  } finally {
    handle.close();
  }
  await ((await folder.getFileHandle(draft)) as unknown as Movable).move(folder, name);
}

/** A small file's contents, if it is there and whole. */
export async function readJson(folder: FileSystemDirectoryHandle, name: string): Promise<unknown> {
  try {
    return JSON.parse(await (await (await folder.getFileHandle(name)).getFile()).text()) as unknown;
  } catch (error) {
    if (error instanceof SyntaxError || isNamed(error, "NotFoundError")) {
      return undefined;
    }
    throw error;
  }
}

/** A file's length, if it is there. */
export async function sizeOf(folder: FileSystemDirectoryHandle, name: string): Promise<number | undefined> {
  try {
    return (await (await folder.getFileHandle(name)).getFile()).size;
  } catch (error) {
    if (isNamed(error, "NotFoundError")) {
      return undefined;
    }
    throw error;
  }
}

/** The names in a folder that end so. */
export async function namesIn(folder: FileSystemDirectoryHandle, ending = ""): Promise<string[]> {
  const names: string[] = [];
  for await (const [name] of folder as unknown as Entries) {
    if (name.endsWith(ending)) {
      names.push(name);
    }
  }
  return names;
}

/** Deletes a file, if it is there. One that somebody reads stays, and is removed when a store opens. */
export async function remove(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  try {
    await folder.removeEntry(name);
  } catch (error) {
    if (!isNamed(error, "NotFoundError") && !isNamed(error, "NoModificationAllowedError")) {
      throw error;
    }
  }
}

/** Whether it is an error of the browser with this name. */
export function isNamed(error: unknown, name: string): boolean {
  return error instanceof DOMException && error.name === name;
}
