/**
 * From a source to files that an engine can read: in Node.js in place, in a browser through the store.
 */

import { SippError } from "../error.ts";
import type { Ready } from "../local.ts";
import { node } from "../platform.ts";
import type { LocalDescriptor } from "../request.ts";
import { type LoadProgress, type ModelFiles, shardNames } from "./source.ts";
import type { ModelStore } from "./store.ts";

/** What a projector is called beside its model, whose own name it may have. */
const PROJECTOR = "its-projector.gguf";

/** Makes a model's files ready. `store` opens the store, where there is one. */
export async function ready(
  descriptor: LocalDescriptor,
  onProgress: (progress: LoadProgress) => void,
  store: () => Promise<ModelStore>,
): Promise<Ready> {
  const { source, sha256, signal } = descriptor;
  const loading = (fraction: number, totalBytes: number): void =>
    onProgress({ phase: "load", loadedBytes: Math.round(fraction * totalBytes), totalBytes, percent: fraction * 100 });
  if (node !== undefined) {
    return inPlace(descriptor, loading);
  }
  const models = await store();
  const installed = await models.obtain(source, { sha256, onProgress, signal });
  const held = await models.hold(installed.id);
  const projectors = installed.projector ?? [];
  if (projectors.length > 1) {
    held();
    throw new SippError("invalid-model-source", "a projector is one file, not several shards");
  }
  return {
    model: installed.name,
    files: [
      ...installed.files.map(({ name, path }) => ({ name, opfs: path })),
      ...projectors.map(({ path }) => ({ name: PROJECTOR, opfs: path })),
    ],
    projector: projectors[0] && { file: PROJECTOR, name: projectors[0].name },
    bytes: installed.bytes,
    onProgress: (fraction) => loading(fraction, installed.bytes),
    signal,
    release: held,
    // What is no model is not kept; another tab that uses it all the same found it to be one.
    reject: () => models.remove(installed.id).catch(() => undefined),
  };
}

function inPlace(descriptor: LocalDescriptor, loading: (fraction: number, totalBytes: number) => void): Ready {
  const { source, sha256, signal } = descriptor;
  if (sha256 !== undefined) {
    throw new SippError("invalid-model-source", "a file of Node.js is read in place and not checked; leave sha256 out");
  }
  if (node === undefined) {
    throw new SippError("internal", "there is no Node.js");
  }
  const paths = node.getBuiltinModule("node:path");
  const fs = node.getBuiltinModule("node:fs");
  const pair = typeof source === "object" && "model" in source ? source : { model: source };
  const path = fileOf(pair.model);
  const projector = pair.projector === undefined ? undefined : fileOf(pair.projector);
  // llama.cpp finds the other shards by the first one's name.
  const own = paths.basename(path);
  const files = (shardNames(own)?.names ?? [own]).map((name) => ({ name, path: paths.join(paths.dirname(path), name) }));
  const all = projector === undefined ? files : [...files, { name: PROJECTOR, path: projector }];
  // A shard that is missing is the engine's to tell.
  const bytes = all.reduce((sum, { path }) => sum + (fs.statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
  return {
    model: path,
    files: all,
    projector: projector === undefined ? undefined : { file: PROJECTOR, name: projector },
    bytes,
    onProgress: (fraction) => loading(fraction, bytes),
    signal,
  };
}

function fileOf(source: ModelFiles): string {
  if (node === undefined || (typeof source !== "string" && !(source instanceof URL))) {
    throw new SippError("invalid-model-source", "a model of Node.js is the path of a file; give a text or a file URL");
  }
  const path = source instanceof URL ? node.getBuiltinModule("node:url").fileURLToPath(source) : source;
  const fault = (text: string): SippError => new SippError("model", text, { fault: "not-found" });
  const found = node.getBuiltinModule("node:fs").statSync(path, { throwIfNoEntry: false });
  if (found === undefined) {
    throw fault(`there is no file ${path}`);
  }
  if (!found.isFile()) {
    throw fault(`${path} is not a file`);
  }
  return path;
}
