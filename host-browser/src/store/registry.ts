/**
 * The installed models: a folder each, whose `model.json` says what it is.
 *
 * There is no list that could contradict the files. A model is there once its description is, which is written last; a
 * folder without one was left by a crash and is removed.
 */

import { SippError } from "../error.ts";
import { folder, readText, remove, writeText } from "./opfs.ts";

/** A model that is installed in this browser. */
export interface InstalledModel {
  readonly id: string;
  readonly name: string;
  readonly bytes: number;
  /** Its file, or its shards in order. */
  readonly files: readonly InstalledFile[];
  /** Where it came from: an address, or the name of a file. */
  readonly source: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  /** Milliseconds since 1970. */
  readonly usedAt: number;
}

/** A file of an installed model. */
export interface InstalledFile {
  readonly name: string;
  /** Below the root of the origin's private file system. */
  readonly path: string;
  readonly bytes: number;
  /** Known where it was asked for, or where the file came from this machine. */
  readonly sha256?: string | undefined;
  /** What its server calls this version of it. */
  readonly version?: string | undefined;
}

const DESCRIPTION = "model.json";
const USED = "used";

/** The lock that whoever uses a model shares, and whoever deletes it must have alone. */
export function lockOf(id: string): string {
  return `sipp-model-${id}`;
}

/** Every installed model, the one used last first. */
export async function installed(): Promise<InstalledModel[]> {
  const models = await folder("models");
  const found: InstalledModel[] = [];
  for await (const [id, entry] of models as unknown as AsyncIterable<[string, FileSystemHandle]>) {
    const model = entry.kind === "directory" ? await read(entry as FileSystemDirectoryHandle, id) : undefined;
    if (model !== undefined) {
      found.push(model);
    }
  }
  return found.sort((one, other) => other.usedAt - one.usedAt);
}

/** One installed model. */
export async function find(id: string): Promise<InstalledModel | undefined> {
  return await read(await folder("models", id), id);
}

async function read(own: FileSystemDirectoryHandle, id: string): Promise<InstalledModel | undefined> {
  const text = await readText(own, DESCRIPTION);
  if (text === undefined) {
    return undefined;
  }
  const model = JSON.parse(text) as InstalledModel;
  const usedAt = Number((await readText(own, USED)) ?? model.createdAt);
  return { ...model, id, usedAt };
}

/** Describes a model whose files are in its folder: from here on it is there. */
export async function describe(model: InstalledModel): Promise<void> {
  await writeText(await folder("models", model.id), DESCRIPTION, JSON.stringify(model));
}

/** Notes that a model is used now. */
export async function touch(id: string): Promise<void> {
  await writeText(await folder("models", id), USED, String(Date.now()));
}

/** Deletes a model that nobody uses. */
export async function uninstall(id: string): Promise<void> {
  const models = await folder("models");
  const done = await navigator.locks.request(lockOf(id), { ifAvailable: true }, async (lock) => {
    if (lock === null) {
      return false;
    }
    // Without its description it is no model, so a crash from here on leaves none that is half there.
    await remove(await folder("models", id), DESCRIPTION);
    await remove(models, id);
    return true;
  });
  if (!done) {
    throw new SippError("invalid-request", `model \`${id}\` is in use, here or in another tab; close its endpoint first`);
  }
}

/** Removes what crashes left: folders without a description, unless somebody is filling one. */
export async function clean(): Promise<void> {
  const models = await folder("models");
  for await (const [id, entry] of models as unknown as AsyncIterable<[string, FileSystemHandle]>) {
    if (entry.kind === "directory" && (await readText(entry as FileSystemDirectoryHandle, DESCRIPTION)) === undefined) {
      await navigator.locks.request(lockOf(id), { ifAvailable: true }, async (lock) => {
        if (lock !== null && (await readText(entry as FileSystemDirectoryHandle, DESCRIPTION)) === undefined) {
          await remove(models, id);
        }
      });
    }
  }
}
