/** SHA-256 of files and texts, a piece at a time: the browser's own takes a whole file at once. */

import { createSHA256 } from "hash-wasm";

import type { AccessHandle } from "./opfs.ts";

const PIECE = 4 << 20;

/** A file's hash, as hexadecimal digits. */
export async function hashFile(handle: AccessHandle, progress: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  const hasher = await createSHA256();
  const piece = new Uint8Array(PIECE);
  const size = handle.getSize();
  for (let at = 0; at < size; ) {
    signal.throwIfAborted();
    const count = handle.read(piece, { at });
    hasher.update(piece.subarray(0, count));
    at += count;
    progress(at);
    // A turn for messages, such as an abort.
    await new Promise((resolve) => setTimeout(resolve));
  }
  return hasher.digest("hex");
}

/** A text's hash, as hexadecimal digits. */
export async function hashText(text: string): Promise<string> {
  const hasher = await createSHA256();
  return hasher.update(text).digest("hex");
}
