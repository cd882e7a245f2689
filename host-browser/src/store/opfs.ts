/**
 * The store's folders in the origin's private file system.
 *
 * ```
 * sipp/models/<id>/<file>.gguf    an installed model's files
 * sipp/models/<id>/model.json     what it is; written last, and only whole: without it there is no model
 * sipp/models/<id>/used           when it was used last, milliseconds as text
 * sipp/partial/<key>/data         a file on its way, in its full length
 * sipp/partial/<key>/about.json   where it comes from
 * sipp/partial/<key>/done         a byte for each piece: 1 once the piece is in `data` and flushed
 * ```
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

/** A folder of the store, made if it is not there. */
export async function folder(...names: string[]): Promise<FileSystemDirectoryHandle> {
  let folder = await root();
  for (const name of ["sipp", ...names]) {
    folder = await folder.getDirectoryHandle(name, { create: true });
  }
  return folder;
}

async function root(): Promise<FileSystemDirectoryHandle> {
  const storage = (globalThis as { navigator?: { storage?: StorageManager } }).navigator?.storage;
  if (storage?.getDirectory === undefined) {
    throw new SippError("storage-unavailable", "this page has no private file system; serve it from https or localhost");
  }
  try {
    return await storage.getDirectory();
  } catch (cause) {
    throw new SippError("storage-unavailable", "this browser keeps no files here, as in a private window; use an ordinary one", { cause });
  }
}

/** Opens a file for reading and writing, made if it is not there. */
export async function access(folder: FileSystemDirectoryHandle, name: string): Promise<AccessHandle> {
  const file = await folder.getFileHandle(name, { create: true });
  return await (file as unknown as Movable).createSyncAccessHandle();
}

/** Puts a file into another folder, in one step. */
export async function move(from: FileSystemDirectoryHandle, name: string, to: FileSystemDirectoryHandle, as: string): Promise<void> {
  const file = await from.getFileHandle(name);
  await (file as unknown as Movable).move(to, as);
}

/** Writes a small file whole or not at all. */
export async function writeText(folder: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const draft = `${name}.draft`;
  const handle = await access(folder, draft);
  try {
    const bytes = new TextEncoder().encode(text);
    handle.truncate(bytes.length);
    handle.write(bytes, { at: 0 });
    handle.flush();
  } finally {
    handle.close();
  }
  await move(folder, draft, folder, name);
}

/** A small file's text, if it is there. */
export async function readText(folder: FileSystemDirectoryHandle, name: string): Promise<string | undefined> {
  try {
    return await (await (await folder.getFileHandle(name)).getFile()).text();
  } catch (error) {
    return missing(error);
  }
}

/** Deletes a file or folder, if it is there. */
export async function remove(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  await folder.removeEntry(name, { recursive: true }).catch(missing);
}

function missing(error: unknown): undefined {
  if (error instanceof DOMException && error.name === "NotFoundError") {
    return undefined;
  }
  throw error;
}
