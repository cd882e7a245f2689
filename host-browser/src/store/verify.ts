/**
 * Whether an installed model's bytes are still those that were stored. Disks fail, and browsers have deleted files.
 */

import { SippError } from "../error.ts";
import { access, folder, sizeOf } from "./opfs.ts";
import { filesOf, find, type InstalledFile, notInstalled, uninstall } from "./registry.ts";
import { beginHash, hashOn } from "./sha256.ts";
import type { LoadProgress } from "./source.ts";

/** Hashes a model's files. A damaged one that nobody uses is deleted, so that it is brought anew the next time. */
export async function verify(id: string, progress: (progress: LoadProgress) => void, signal: AbortSignal): Promise<void> {
  const model = await find(id);
  if (model === undefined) {
    throw notInstalled(id);
  }
  let before = 0;
  for (const file of filesOf(model)) {
    const told = (bytes: number): void => {
      const loadedBytes = before + bytes;
      progress({ phase: "verify", loadedBytes, totalBytes: model.bytes, percent: (loadedBytes / model.bytes) * 100, name: file.name });
    };
    const actual = await hashStored(file, told, signal);
    if (actual !== file.sha256) {
      const removed = await uninstall(id).then(() => true, () => false);
      const then = removed ? "the model was deleted; load it again" : "the model is in use; close it and delete it";
      throw new SippError("storage-corrupt", `${file.name} is not what was stored: ${then}`, { hash: { actual, expected: file.sha256 } });
    }
    before += file.bytes;
  }
}

/** The hash of what is stored; empty where the length is wrong. */
async function hashStored(file: InstalledFile, progress: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  const files = await folder("files");
  const name = file.path.slice(file.path.lastIndexOf("/") + 1);
  if ((await sizeOf(files, name)) !== file.bytes) {
    return "";
  }
  const handle = await access(files, name);
  try {
    const hash = await beginHash();
    await hashOn(hash, handle, file.bytes, progress, signal);
    return hash.digest();
  } finally {
    handle.close();
  }
}
