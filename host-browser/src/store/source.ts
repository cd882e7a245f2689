/**
 * Where a model comes from, and what is told while it comes.
 */

import { SippError } from "../error.ts";
import type { SourceFile } from "./protocol.ts";

/** A model's file, or its shards in order. The first shard's address stands for all. */
export type ModelFiles = string | URL | File | readonly (string | URL)[] | readonly File[];

/** A model's source: files; an installed model's id; or a model with its projector. */
export type ModelSource = ModelFiles | { readonly model: ModelFiles; readonly projector?: ModelFiles };

/** What happened on the way that a caller may want to know: told once, with the progress of that moment. */
export interface LoadNote {
  readonly code:
    /** An unfinished download goes on; `bytes` of it were there. */
    | "resumed"
    /** The server sends no ranges, or nothing tells one version of the file from another: a break begins anew. */
    | "not-resumable"
    /** Another tab brings it; this one waits and takes over if that tab goes away. */
    | "followed"
    /** The server has another file than before; it is brought anew. */
    | "changed"
    /** The server cannot be reached or does not answer for it; the installed model is used as it is. */
    | "offline"
    /** The server tells no version; the installed model has the right length and is used. */
    | "unchecked"
    /** The installed model is damaged or gone; it is brought anew. */
    | "damaged";
  readonly text: string;
  readonly bytes?: number | undefined;
}

/** How far a model is on its way. */
export interface LoadProgress {
  readonly phase: "metadata" | "download" | "store" | "verify" | "load";
  readonly loadedBytes: number;
  /** All bytes of the phase, once they are known. */
  readonly totalBytes: number | null;
  /** From 0 to 100, once it is known. */
  readonly percent: number | null;
  /** The file that it is about. */
  readonly name?: string | undefined;
  readonly note?: LoadNote | undefined;
}

/** Ids of installed models. */
const ID = /^model-[0-9a-f]{24}$/;

const SHARD = /-(\d{5})-of-(\d{5})\.gguf$/;

/** Files of a source, the model's before the projector's, or an installed model's id. */
export type Listed = { readonly id: string } | { readonly files: readonly SourceFile[]; readonly projectors: number };

/** Reads a source: finds shards, checks names and hashes. `base` is what relative addresses are relative to. */
export function listed(source: ModelSource, sha256: string | readonly string[] | undefined, base: string): Listed {
  const [model, projector] = isPair(source) ? [source.model, source.projector] : [source, undefined];
  if (typeof model === "string" && ID.test(model)) {
    if (projector !== undefined || sha256 !== undefined) {
      throw invalid(`\`${model}\` is an installed model, whose files are known; leave projector and sha256 out`);
    }
    return { id: model };
  }
  const own = expanded(model, base);
  const projecting = projector === undefined ? [] : expanded(projector, base);
  const all = [...own, ...projecting];
  const hashes = typeof sha256 === "string" ? [sha256] : (sha256 ?? []);
  if (hashes.length > 0 && hashes.length !== all.length) {
    throw invalid(`there are ${all.length} files and ${hashes.length} hashes; give one for each`);
  }
  if (hashes.some((hash) => !/^[0-9a-f]{64}$/i.test(hash))) {
    throw invalid("sha256 must be 64 hexadecimal digits");
  }
  const files = all.map((one, index): SourceFile => {
    const hash = hashes[index]?.toLowerCase();
    return one instanceof File ? { file: one, sha256: hash } : { url: one, sha256: hash };
  });
  return { files, projectors: projecting.length };
}

/** A file's name, as an address or a person gives it. */
export function nameOf(file: SourceFile): string {
  if ("file" in file) {
    return file.file.name;
  }
  const last = new URL(file.url).pathname.split("/").at(-1) ?? "";
  try {
    return decodeURIComponent(last) || "model.gguf";
  } catch {
    return last;
  }
}

function isPair(source: ModelSource): source is Extract<ModelSource, { model: unknown }> {
  return typeof source === "object" && "model" in source;
}

function expanded(files: ModelFiles, base: string): (string | File)[] {
  const list = Array.isArray(files) ? (files as readonly (string | URL | File)[]) : [files as string | URL | File];
  const named = list.map((one) => (one instanceof File ? one : absolute(one, base)));
  const [first] = named;
  if (first === undefined) {
    throw invalid("there is no file; name at least one");
  }
  if (named.length === 1) {
    return typeof first === "string" ? allShards(first) : wholeShards([first]);
  }
  return wholeShards(named);
}

/** The addresses of all shards, where the first one's is given. */
function allShards(url: string): string[] {
  const shards = shardNames(new URL(url).pathname);
  if (shards === undefined) {
    return [url];
  }
  if (shards.index !== 1) {
    throw invalid(`${url} is shard ${shards.index} of ${shards.names.length}; give the first one, or all`);
  }
  return shards.names.map((name) => {
    const next = new URL(url);
    next.pathname = name;
    return next.href;
  });
}

/** Which shard a name is of, and the names of all; nothing for a model in one file. */
export function shardNames(name: string): { readonly index: number; readonly names: readonly string[] } | undefined {
  const match = SHARD.exec(name);
  if (match === null) {
    return undefined;
  }
  const [, index, count] = match as unknown as [string, string, string];
  const nameAt = (_: unknown, shard: number): string => name.replace(SHARD, `-${String(shard + 1).padStart(5, "0")}-of-${count}.gguf`);
  return { index: Number(index), names: Array.from({ length: Number(count) }, nameAt) };
}

/** Shards in order; fails unless they are all of one model. */
function wholeShards<F extends string | File>(files: readonly F[]): F[] {
  const shards = files.map((file) => {
    const name = nameOf(typeof file === "string" ? { url: file } : { file });
    const match = SHARD.exec(name);
    return { file, name, stem: name.slice(0, match?.index), index: Number(match?.[1]), count: Number(match?.[2]) };
  });
  const [first] = shards;
  if (first === undefined || (shards.length === 1 && Number.isNaN(first.count))) {
    return [...files];
  }
  const stray = shards.find(({ stem, count }) => Number.isNaN(count) || stem !== first.stem || count !== first.count);
  if (stray !== undefined) {
    throw invalid(`${stray.name} is no shard of the model of ${first.name}; give one model's files`);
  }
  const ordered = shards.toSorted((one, other) => one.index - other.index);
  const wrong = ordered.findIndex(({ index }, place) => index !== place + 1);
  if (wrong >= 0 || shards.length !== first.count) {
    const missing = wrong >= 0 ? wrong + 1 : shards.length + 1;
    throw invalid(`shard ${missing} of ${first.count} of ${first.stem} is missing or given twice; give each once`);
  }
  return ordered.map(({ file }) => file);
}

function absolute(file: string | URL, base: string): string {
  const url = URL.parse(file, base);
  if (url === null || !["http:", "https:", "blob:"].includes(url.protocol)) {
    throw invalid(`${String(file)} is no address of a file; give a URL, a File or an installed model's id`);
  }
  url.hash = "";
  return url.href;
}

function invalid(message: string): SippError {
  return new SippError("invalid-model-source", message);
}
