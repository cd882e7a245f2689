/**
 * The installed models: a small file each, that says what the model is and where its bytes lie.
 *
 * There is no list that could contradict them. A model is there once its description is, which is written last; its id
 * comes from what its files contain, so that the same model from two places is stored once.
 */

import { SippError } from "../error.ts";
import { folder, namesIn, readJson, remove, sizeOf, writeText } from "./opfs.ts";
import { drop, dropIdle, isForgotten, type Note } from "./partial.ts";
import { hashText } from "./sha256.ts";

/** A model that is installed in this browser. */
export interface InstalledModel {
  readonly id: string;
  readonly name: string;
  /** Of all its files. */
  readonly bytes: number;
  /** Its file, or its shards in order. */
  readonly files: readonly InstalledFile[];
  /** The file with which it reads images, or that file's shards. */
  readonly projector?: readonly InstalledFile[] | undefined;
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
  /** Hexadecimal digits. */
  readonly sha256: string;
  /** Where the same bytes are found. */
  readonly origins: readonly Origin[];
}

/** An address of a file, and what its server calls the version that is installed. */
export interface Origin {
  readonly url: string;
  readonly version: string;
}

/** The lock that whoever changes what is installed must have. */
const LOCK = "sipp-registry";

/** The lock that whoever uses a model shares, and whoever deletes it must have alone. */
export function lockOf(id: string): string {
  return `sipp-model-${id}`;
}

/** All files of a model. */
export function filesOf(model: InstalledModel): readonly InstalledFile[] {
  return [...model.files, ...(model.projector ?? [])];
}

/** The error where there is no such model. */
export function notInstalled(id: string): SippError {
  return new SippError("model", `there is no installed model \`${id}\``, { fault: "not-found" });
}

/** Every installed model, the one used last first. */
export async function installed(): Promise<InstalledModel[]> {
  const models = await folder("models");
  const ids = (await namesIn(models, ".json")).map((name) => name.slice(0, -".json".length));
  const found = await Promise.all(ids.map(find));
  return found.filter((model) => model !== undefined).sort((one, other) => other.usedAt - one.usedAt);
}

/** One installed model. */
export async function find(id: string): Promise<InstalledModel | undefined> {
  const models = await folder("models");
  const model = (await readJson(models, `${id}.json`)) as InstalledModel | undefined;
  if (model === undefined) {
    return undefined;
  }
  const used = Number((await readJson(models, `${id}.used`)) ?? 0);
  return { ...model, usedAt: Math.max(used, model.createdAt) };
}

/** Notes that a model is used now. */
export async function touch(id: string): Promise<void> {
  await changing(async () => {
    if ((await find(id)) === undefined) {
      throw notInstalled(id);
    }
    await writeText(await folder("models"), `${id}.used`, String(Date.now()));
  });
}

/** The id of the model that has these files. */
export async function idOf(files: readonly InstalledFile[], projector: readonly InstalledFile[] = []): Promise<string> {
  const contents = [files, projector].map((some) => some.map(({ sha256 }) => sha256).join("\n")).join("\n\n");
  return `model-${(await hashText(contents)).slice(0, 24)}`;
}

/** Installs a model of which every file is there. Bytes that are installed already are not kept twice. */
export async function install(files: readonly InstalledFile[], projectors: number, source: string, keys: readonly string[]): Promise<InstalledModel> {
  return await changing(async () => {
    const known = new Map((await installed()).flatMap(filesOf).map((file) => [file.sha256, file]));
    const merged = files.map((file) => {
      const other = known.get(file.sha256);
      return other === undefined ? file : { ...other, name: file.name, origins: joined(other.origins, file.origins) };
    });
    await forgetOrigins(merged);
    const count = merged.length - projectors;
    const [own, projector] = [merged.slice(0, count), merged.slice(count)];
    const id = await idOf(own, projector);
    const before = await find(id);
    const now = Date.now();
    const model: InstalledModel = {
      id,
      name: before?.name ?? own[0]?.name ?? id,
      bytes: merged.reduce((sum, { bytes }) => sum + bytes, 0),
      files: own,
      projector: projector.length === 0 ? undefined : projector,
      source,
      createdAt: now,
      usedAt: now,
    };
    await writeText(await folder("models"), `${id}.json`, JSON.stringify(model));
    for (const key of keys) {
      const note = (await readJson(await folder("partial"), `${key}.json`)) as Note | undefined;
      await drop(key, merged.some(({ path }) => path.endsWith(`/${note?.file}`)));
    }
    return model;
  });
}

/** Takes addresses away from models that were there under them before: they lead to other bytes now. */
async function forgetOrigins(files: readonly InstalledFile[]): Promise<void> {
  const urls = new Map(files.flatMap(({ sha256, origins }) => origins.map(({ url }) => [url, sha256] as const)));
  const isOld = (file: InstalledFile, { url }: Origin): boolean => urls.has(url) && urls.get(url) !== file.sha256;
  for (const model of await installed()) {
    if (filesOf(model).some((file) => file.origins.some((origin) => isOld(file, origin)))) {
      const without = (file: InstalledFile): InstalledFile => ({ ...file, origins: file.origins.filter((origin) => !isOld(file, origin)) });
      const changed = { ...model, files: model.files.map(without), projector: model.projector?.map(without) };
      await writeText(await folder("models"), `${model.id}.json`, JSON.stringify(changed));
    }
  }
}

function joined(some: readonly Origin[], more: readonly Origin[]): Origin[] {
  return [...new Map([...some, ...more].map((origin) => [origin.url, origin])).values()];
}

/** Deletes a model that nobody uses. */
export async function uninstall(id: string): Promise<void> {
  const done = await navigator.locks.request(lockOf(id), { ifAvailable: true }, async (lock) => {
    if (lock === null) {
      return false;
    }
    await changing(() => erase(id));
    return true;
  });
  if (!done) {
    throw new SippError("invalid-request", `model \`${id}\` is in use, here or in another tab; close its endpoint first`, { reason: "in-use" });
  }
}

/** Deletes a description, and the bytes that no other one names. */
async function erase(id: string): Promise<void> {
  const model = await find(id);
  if (model === undefined) {
    throw notInstalled(id);
  }
  const models = await folder("models");
  await remove(models, `${id}.json`);
  await remove(models, `${id}.used`);
  const named = new Set((await installed()).flatMap(filesOf).map(({ path }) => path));
  const files = await folder("files");
  for (const { path } of filesOf(model).filter((file) => !named.has(file.path))) {
    await remove(files, baseOf(path));
  }
}

/** Removes what crashes left: unfinished files that nobody comes back for, models without their bytes, bytes of none. */
export async function clean(): Promise<void> {
  await dropIdle(isForgotten);
  await changing(async () => {
    const [files, partial, models] = [await folder("files"), await folder("partial"), await folder("models")];
    // In this order: a file has a note before it is there, and loses it only once it is installed.
    const there = await namesIn(files);
    const notes = await Promise.all((await namesIn(partial, ".json")).map((name) => readJson(partial, name)));
    for (const model of await installed()) {
      const sizes = await Promise.all(filesOf(model).map(({ path }) => sizeOf(files, baseOf(path))));
      if (filesOf(model).some(({ bytes }, index) => sizes[index] !== bytes)) {
        await erase(model.id);
      }
    }
    const kept = new Set((await installed()).flatMap(filesOf).map(({ path }) => baseOf(path)));
    notes.forEach((note) => kept.add((note as Note | undefined)?.file ?? ""));
    if (notes.every((note) => note !== undefined)) {
      await Promise.all(there.filter((name) => !kept.has(name)).map((name) => remove(files, name)));
    }
    const ids = new Set(await namesIn(models, ".json"));
    const stray = (await namesIn(models, ".used")).filter((name) => !ids.has(name.replace(/used$/, "json")));
    await Promise.all(stray.map((name) => remove(models, name)));
  });
}

function baseOf(path: string): string {
  return path.slice(path.lastIndexOf("/") + 1);
}

async function changing<T>(change: () => Promise<T>): Promise<T> {
  return (await navigator.locks.request(LOCK, change)) as T;
}
