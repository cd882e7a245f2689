/**
 * SHA-256, a piece at a time, with a state that can be noted and gone on with after a crash: the browser's own takes a
 * whole file at once, and forgets.
 */

import { createSHA256 } from "hash-wasm";

import type { AccessHandle } from "./opfs.ts";

const PIECE = 4 << 20;

/** A hash that grows with its file. */
export interface Hash {
  /** Bytes so far. */
  readonly bytes: number;
  update(bytes: Uint8Array): void;
  /** Its state, to go on with later. */
  note(): string;
  /** Hexadecimal digits. It takes nothing more afterwards. */
  digest(): string;
}

/** Begins a hash, or goes on with one whose state was noted. */
export async function beginHash(bytes = 0, state?: string): Promise<Hash> {
  const hasher = await createSHA256();
  if (state === undefined) {
    hasher.init();
  } else {
    hasher.load(Uint8Array.from(atob(state), (letter) => letter.charCodeAt(0)));
  }
  let count = state === undefined ? 0 : bytes;
  return {
    get bytes() {
      return count;
    },
    update(more) {
      hasher.update(more);
      count += more.length;
    },
    note: () => btoa(String.fromCharCode(...hasher.save())),
    digest: () => hasher.digest("hex"),
  };
}

/** Hashes a file on, up to a place. `progress` is told how far it is. */
export async function hashOn(hash: Hash, handle: AccessHandle, end: number, progress: (bytes: number) => void, signal: AbortSignal): Promise<void> {
  const piece = new Uint8Array(PIECE);
  while (hash.bytes < end) {
    signal.throwIfAborted();
    const count = handle.read(piece.subarray(0, Math.min(PIECE, end - hash.bytes)), { at: hash.bytes });
    if (count === 0) {
      throw new Error(`the file ends at ${hash.bytes} of ${end} bytes`);
    }
    hash.update(piece.subarray(0, count));
    progress(hash.bytes);
    await turn();
  }
}

/** A text's hash, as hexadecimal digits. */
export async function hashText(text: string): Promise<string> {
  const hasher = await createSHA256();
  return hasher.update(text).digest("hex");
}

/** A turn for messages, such as an abort. */
export function turn(): Promise<void> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve) => {
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}
