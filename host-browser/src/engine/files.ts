/**
 * A model's files in the engine's file system, read where they lie.
 *
 * Emscripten would hold a file in memory beside the weights made of it. Here a file is a node whose reads go straight to an
 * OPFS handle, a blob or a descriptor of Node.js, into the memory that the engine reads to.
 */

import { node } from "../platform.ts";
import type { EngineFile } from "./protocol.ts";

/** Something that can be read at any place. */
interface Readable {
  readonly size: number;
  read(into: Uint8Array, at: number): number;
  close(): void;
}

/** What is used of Emscripten's file system. */
export interface FileSystem {
  mkdirTree(path: string): void;
  createFile(parent: string, name: string, properties: object, canRead: boolean, canWrite: boolean): FileNode;
}

interface FileNode {
  id: number;
  mode: number;
  node_ops: { getattr?: (node: FileNode) => object };
  stream_ops: object;
}

interface Stream {
  position: number;
}

/** Puts the files into a folder. Returns what closes them. */
export async function mount(fs: FileSystem, folder: string, files: readonly EngineFile[]): Promise<() => void> {
  fs.mkdirTree(folder);
  const opened: Readable[] = [];
  const close = (): void => {
    for (const file of opened.splice(0)) {
      file.close();
    }
  };
  try {
    for (const file of files) {
      const readable = await open(file);
      opened.push(readable);
      place(fs, folder, file.name, readable);
    }
    return close;
  } catch (error) {
    close();
    throw error;
  }
}

function place(fs: FileSystem, folder: string, name: string, file: Readable): void {
  const created = fs.createFile(folder, name, {}, true, false);
  const time = new Date(0);
  created.node_ops = {
    ...created.node_ops,
    getattr: ({ id, mode }) => ({
      dev: 1,
      ino: id,
      mode,
      nlink: 1,
      uid: 0,
      gid: 0,
      rdev: 0,
      size: file.size,
      atime: time,
      mtime: time,
      ctime: time,
      blksize: 4096,
      blocks: Math.ceil(file.size / 4096),
    }),
  };
  created.stream_ops = {
    open: () => undefined,
    close: () => undefined,
    llseek: (stream: Stream, offset: number, whence: number): number =>
      offset + (whence === 1 ? stream.position : whence === 2 ? file.size : 0),
    read: (_: Stream, memory: Uint8Array, offset: number, length: number, position: number): number =>
      file.read(memory.subarray(offset, offset + length), position),
  };
}

async function open(file: EngineFile): Promise<Readable> {
  if ("opfs" in file) {
    return await openStored(file.opfs);
  }
  if ("blob" in file) {
    return openBlob(file.blob);
  }
  return openPath(file.path);
}

/** What only workers have, and the types of pages do not know. */
interface AccessHandle {
  getSize(): number;
  read(into: Uint8Array, options: { at: number }): number;
  close(): void;
}

interface SharedFileHandle {
  createSyncAccessHandle(options: { mode: "read-only" }): Promise<AccessHandle>;
}

interface BlobReader {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}

/** A handle that others may read too: another tab can load the same model. */
async function openStored(path: string): Promise<Readable> {
  const names = path.split("/");
  let folder = await navigator.storage.getDirectory();
  for (const name of names.slice(0, -1)) {
    folder = await folder.getDirectoryHandle(name);
  }
  const stored = await folder.getFileHandle(names.at(-1) ?? "");
  const handle = await (stored as unknown as SharedFileHandle).createSyncAccessHandle({ mode: "read-only" });
  return {
    size: handle.getSize(),
    read: isShared() ? throughCopy((into, at) => handle.read(into, { at })) : (into, at) => handle.read(into, { at }),
    close: () => handle.close(),
  };
}

function openBlob(blob: Blob): Readable {
  const { FileReaderSync } = globalThis as unknown as { FileReaderSync: new () => BlobReader };
  const reader = new FileReaderSync();
  return {
    size: blob.size,
    read: (into, at) => {
      const bytes = new Uint8Array(reader.readAsArrayBuffer(blob.slice(at, at + into.length)));
      into.set(bytes);
      return bytes.length;
    },
    close: () => undefined,
  };
}

function openPath(path: string): Readable {
  if (node === undefined) {
    throw new Error("there are no paths here");
  }
  const fs = node.getBuiltinModule("node:fs");
  const descriptor = fs.openSync(path, "r");
  return {
    size: fs.fstatSync(descriptor).size,
    read: (into, at) => fs.readSync(descriptor, into, 0, into.length, at),
    close: () => fs.closeSync(descriptor),
  };
}

function isShared(): boolean {
  return typeof SharedArrayBuffer !== "undefined";
}

/** Handles do not read into memory that threads share; a piece at a time goes through memory of its own. */
function throughCopy(read: (into: Uint8Array, at: number) => number): Readable["read"] {
  const piece = new Uint8Array(4 << 20);
  return (into, at) => {
    if (!(into.buffer instanceof SharedArrayBuffer)) {
      return read(into, at);
    }
    let done = 0;
    while (done < into.length) {
      const part = piece.subarray(0, Math.min(piece.length, into.length - done));
      const count = read(part, at + done);
      into.set(part.subarray(0, count), done);
      done += count;
      if (count < part.length) {
        break;
      }
    }
    return done;
  };
}
