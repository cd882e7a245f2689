/**
 * Room: how much this origin may still store, and who goes when it is short.
 *
 * What browsers tell is an estimate, and Chromium tells every origin that 10 GiB are left, so that pages cannot be told
 * apart by it. Whether there is room shows when it is taken: a file takes all of its room before its first byte comes.
 * Chromium takes it in powers of two up to 128 MiB and in multiples of that beyond (measured, version 156), so that less
 * can be stored than the quota says.
 */

import { SippError } from "../error.ts";
import { access, folder, remove } from "./opfs.ts";
import { drop, idle, lockOf } from "./partial.ts";
import { type InstalledModel, installed, uninstall } from "./registry.ts";

/** Left free for what the browser itself notes, in bytes. */
const MARGIN = 1 << 20;

/** The bisection of room ends at this step, in bytes. */
const STEP = 1 << 16;

/** Bytes that the browser says can still be stored. */
async function estimated(): Promise<number> {
  const { quota = 0, usage = 0 } = await navigator.storage.estimate();
  return Math.max(0, quota - usage - MARGIN);
}

/** Fails where the browser itself says that so many bytes cannot be stored. */
export async function needRoom(bytes: number): Promise<void> {
  if (bytes > 0 && bytes > (await estimated())) {
    throw await quotaExceeded(bytes);
  }
}

/** The error, with the figures. */
export async function quotaExceeded(needed: number, cause?: unknown): Promise<SippError> {
  const available = await room(needed);
  const text = `the model needs ${megabytes(needed)}, and this browser has ${megabytes(available)} left for this page; delete models`;
  return new SippError("storage-quota-exceeded", text, { storage: { needed, available }, cause });
}

/** How many of so many bytes can really be stored: taken for a moment, in an empty file, and given back. */
async function room(most: number): Promise<number> {
  return await taking((fits) => {
    if (fits(most)) {
      return most;
    }
    let [least, above] = [0, most];
    while (above - least > STEP) {
      const middle = least + Math.floor((above - least) / 2);
      [least, above] = fits(middle) ? [middle, above] : [least, middle];
    }
    return least;
  });
}

/** Whether so many bytes can really be stored. */
async function hasRoom(bytes: number): Promise<boolean> {
  return bytes <= (await estimated()) && (await taking((fits) => fits(bytes)));
}

async function taking<T>(ask: (fits: (bytes: number) => boolean) => T): Promise<T> {
  const files = await folder("files");
  const name = `room-${crypto.randomUUID()}`;
  const handle = await access(files, name);
  try {
    return ask((bytes) => {
      try {
        handle.truncate(bytes);
        return true;
      } catch {
        return false;
      }
    });
  } finally {
    handle.close();
    await remove(files, name);
  }
}

/** Deletes models and unfinished files, the one used longest ago first, until so many bytes are free. What is in use stays. */
export async function evict(bytes: number): Promise<InstalledModel[]> {
  const deleted: InstalledModel[] = [];
  const models = (await installed()).map((model) => ({ at: model.usedAt, go: () => uninstalled(model, deleted) }));
  const parts = (await idle()).map(({ key, note }) => ({ at: note?.savedAt ?? 0, go: () => dropped(key) }));
  const oldest = [...models, ...parts].sort((one, other) => one.at - other.at);
  for (const { go } of oldest) {
    if (await hasRoom(bytes)) {
      break;
    }
    await go();
  }
  return deleted;
}

async function uninstalled(model: InstalledModel, deleted: InstalledModel[]): Promise<void> {
  try {
    await uninstall(model.id);
    deleted.push(model);
  } catch (error) {
    // Somebody uses it, or another tab deleted it meanwhile.
    if (!(error instanceof SippError)) {
      throw error;
    }
  }
}

async function dropped(key: string): Promise<void> {
  await navigator.locks.request(lockOf(key), { ifAvailable: true }, async (lock) => {
    if (lock !== null) {
      await drop(key);
    }
  });
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
