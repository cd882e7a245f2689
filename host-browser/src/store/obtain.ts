/**
 * From a source to an installed model: what is there is found, what is missing is brought, and then all of it is listed
 * at once.
 *
 * One tab works at a file at a time. Another one that wants it waits, is told how far the first one is, and goes on from
 * there if the first one goes away.
 */

import { SippError } from "../error.ts";
import { download, isResumable, resumable } from "./download.ts";
import { checkGguf, hasMagic, notGguf } from "./gguf.ts";
import { isNamed } from "./opfs.ts";
import { drop, lockOf, Partial } from "./partial.ts";
import type { SourceFile } from "./protocol.ts";
import { needRoom, quotaExceeded } from "./quota.ts";
import { filesOf, idOf, type InstalledFile, type InstalledModel, install, installed } from "./registry.ts";
import { inspect, Lost, type Remote } from "./remote.ts";
import { beginHash, hashText, turn } from "./sha256.ts";
import { type LoadNote, type LoadProgress, nameOf } from "./source.ts";

/** How the model came to be there. */
export type Obtained = InstalledModel & {
  /** `downloaded` or `copied` now; `installed` before, and so known by its hash; `revalidated` with the server; or not
   * asked for at the server, that was `offline`. */
  readonly how: "downloaded" | "copied" | "installed" | "revalidated" | "offline";
};

/** What must be done for one file. */
type Step = { readonly name: string; readonly key: string; readonly expected: string | undefined } & (
  | { readonly have: InstalledFile; readonly how: Obtained["how"] }
  | { readonly remote: Remote }
  | { readonly file: File }
);

interface Shared {
  readonly keys: readonly string[];
  readonly progress: LoadProgress;
}

const news = new BroadcastChannel("sipp-store");

/** Installs a model, or finds it installed. The last `projectors` files are of its projector. */
export async function obtain(files: readonly SourceFile[], projectors: number, tell: (progress: LoadProgress) => void, signal: AbortSignal): Promise<Obtained> {
  const keyed = await Promise.all(files.map(async (file) => ({ file, key: "url" in file ? (await hashText(file.url)).slice(0, 32) : crypto.randomUUID() })));
  const keys = keyed.map(({ key }) => key);
  let waits = false;
  let since = Number.POSITIVE_INFINITY;
  const follow = ({ data }: MessageEvent<Shared>): void => {
    if (waits && data.keys.some((key) => keys.includes(key))) {
      tell(data.progress);
    }
  };
  const onWait = (): void => {
    if (!waits) {
      [waits, since] = [true, Date.now()];
      const text = "another tab brings this model; this one waits for it";
      tell({ phase: "metadata", loadedBytes: 0, totalBytes: null, percent: null, note: { code: "followed", text } });
    }
  };
  const progress = (told: LoadProgress): void => {
    tell(told);
    news.postMessage({ keys, progress: told } satisfies Shared);
  };
  news.addEventListener("message", follow);
  try {
    // In one order for all, so that nobody waits in a circle.
    return await withLocks([...new Set(keys)].sort().map(lockOf), signal, onWait, async () => {
      waits = false;
      return await work(keyed, projectors, since, progress, signal);
    });
  } catch (error) {
    throw error instanceof Lost ? lost(error) : error;
  } finally {
    news.removeEventListener("message", follow);
  }
}

async function work(keyed: readonly { file: SourceFile; key: string }[], projectors: number, since: number, progress: (progress: LoadProgress) => void, signal: AbortSignal): Promise<Obtained> {
  const steps: Step[] = [];
  const models = await installed();
  const note = (note: LoadNote): void => progress({ phase: "metadata", loadedBytes: 0, totalBytes: null, percent: null, note });
  progress({ phase: "metadata", loadedBytes: 0, totalBytes: null, percent: null });
  for (const { file, key } of keyed) {
    steps.push(await plan(file, key, models, since, note, signal));
  }
  const missing = steps.filter((step) => !("have" in step));
  const present = steps.flatMap((step) => ("have" in step ? [step.have] : []));
  if (missing.length === 0) {
    const count = present.length - projectors;
    const id = await idOf(present.slice(0, count), present.slice(count));
    const model = models.find((one) => one.id === id);
    if (model !== undefined) {
      return { ...model, how: howOf(steps) };
    }
  }
  await needRoom(await needed(missing));
  const tracked = counter(missing, progress);
  const stored: InstalledFile[] = [];
  try {
    for (const step of steps) {
      stored.push("have" in step ? step.have : "remote" in step ? await bring(step, step.remote, tracked, signal) : await copy(step, step.file, models, tracked, signal));
      tracked.next();
    }
    signal.throwIfAborted();
    const source = keyed.map(({ file }) => ("url" in file ? file.url : file.file.name)).join("\n");
    return { ...(await install(stored, projectors, source, keyed.map(({ key }) => key))), how: howOf(steps) };
  } catch (error) {
    for (const step of missing) {
      if ("file" in step) {
        await drop(step.key);
      }
    }
    throw error;
  }
}

/** What must be done for a file: nothing where it is installed, by its hash or by the word of its server. */
async function plan(file: SourceFile, key: string, models: readonly InstalledModel[], since: number, note: (note: LoadNote) => void, signal: AbortSignal): Promise<Step> {
  const expected = file.sha256;
  const step = { name: nameOf(file), key, expected };
  const all = models.flatMap((model) => filesOf(model).map((own) => ({ own, createdAt: model.createdAt })));
  const byHash = all.find(({ own }) => expected !== undefined && own.sha256 === expected);
  if (byHash !== undefined) {
    return { ...step, have: byHash.own, how: "installed" };
  }
  if ("file" in file) {
    if (!hasMagic(new Uint8Array(await file.file.slice(0, 4).arrayBuffer()))) {
      throw notGguf(file.file.name);
    }
    return { ...step, file: file.file };
  }
  const { url } = file;
  const known = all.find(({ own }) => expected === undefined && own.origins.some((origin) => origin.url === url));
  if (known !== undefined && known.createdAt >= since) {
    return { ...step, have: known.own, how: "installed" };
  }
  let remote: Remote;
  try {
    remote = await inspect(url, signal);
  } catch (error) {
    if (known === undefined || signal.aborted) {
      throw error;
    }
    note({ code: "offline", text: `${error instanceof Error ? error.message : String(error)}; the installed model is used` });
    return { ...step, have: known.own, how: "offline" };
  }
  if (known !== undefined) {
    const version = known.own.origins.find((origin) => origin.url === url)?.version;
    if (version === remote.version && (remote.bytes === undefined || remote.bytes === known.own.bytes)) {
      if (version === "") {
        note({ code: "unchecked", text: `${url} tells no version of the file; the installed model is used` });
      }
      return { ...step, have: known.own, how: "revalidated" };
    }
    note({ code: "changed", text: `${url} has another file than the installed one; it is brought` });
  }
  return { ...step, remote };
}

/** Bytes of room that are not taken yet. */
async function needed(missing: readonly Step[]): Promise<number> {
  let sum = 0;
  for (const step of missing) {
    if ("file" in step) {
      sum += step.file.size;
    } else if ("remote" in step) {
      const taken = await resumable(step.key, step.remote, step.expected);
      sum += taken === undefined ? (step.remote.bytes ?? 0) : 0;
    }
  }
  return sum;
}

async function bring(step: Step, remote: Remote, tracked: Counter, signal: AbortSignal): Promise<InstalledFile> {
  const { key, name, expected } = step;
  const note = isResumable(remote, expected) ? await resumable(key, remote, expected) : undefined;
  const origins = [{ url: remote.url, version: remote.version }];
  if (note?.sha256 != null && note.bytes !== null && (expected === undefined || expected === note.sha256)) {
    tracked.at("download", name, note.bytes);
    return { name, path: `sipp/files/${note.file}`, bytes: note.bytes, sha256: note.sha256, origins };
  }
  let came = 0;
  const listener = {
    progress(bytes: number) {
      came = bytes;
      tracked.at("download", name, bytes);
    },
    note: (told: LoadNote) => tracked.note(name, told),
  };
  return await orDrop(key, () => remote.bytes ?? came, async () => {
    const { partial, bytes } = await download(key, remote, expected, listener, signal);
    try {
      const sha256 = await partial.finish(bytes, (done) => tracked.at("verify", name, done), signal);
      judge(sha256, expected, remote.url);
      checkGguf(partial.read, bytes, remote.url);
      return { name, path: partial.path, bytes, sha256, origins };
    } finally {
      await partial.close();
    }
  });
}

async function copy(step: Step, file: File, models: readonly InstalledModel[], tracked: Counter, signal: AbortSignal): Promise<InstalledFile> {
  const { key, name, expected } = step;
  const candidates = models.flatMap(filesOf).filter(({ bytes }) => bytes === file.size);
  if (candidates.length > 0) {
    // It may be there already; reading it once more is less than writing it.
    const sha256 = await hashOf(file, (bytes) => tracked.at("verify", name, bytes), signal);
    judge(sha256, expected, name);
    const same = candidates.find((one) => one.sha256 === sha256);
    if (same !== undefined) {
      return { ...same, name };
    }
  }
  return await orDrop(key, () => file.size, async () => {
    const partial = await Partial.begin(key, { url: "", version: "", bytes: file.size });
    try {
      await eachPiece(file, signal, (piece, at) => {
        partial.write(piece, at);
        tracked.at("store", name, at + piece.length);
      });
      const sha256 = await partial.finish(file.size, () => undefined, signal);
      judge(sha256, expected, name);
      checkGguf(partial.read, file.size, name);
      return { name, path: partial.path, bytes: file.size, sha256, origins: [] };
    } finally {
      await partial.close();
    }
  });
}

/** What turned out to be of no use is dropped; what a connection or the caller broke off stays, to go on with. */
async function orDrop<T>(key: string, needed: () => number, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const full = isNamed(error, "QuotaExceededError");
    const useless = error instanceof SippError && (error.kind === "hash-mismatch" || error.kind === "model");
    if (full || useless) {
      await drop(key);
    }
    throw full ? await quotaExceeded(needed(), error) : error;
  }
}

function judge(sha256: string, expected: string | undefined, name: string): void {
  if (expected !== undefined && sha256 !== expected) {
    throw new SippError("hash-mismatch", `${name} has the SHA-256 ${sha256}, not ${expected}; it was not stored`, { hash: { actual: sha256, expected } });
  }
}

async function hashOf(file: File, progress: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  const hash = await beginHash();
  await eachPiece(file, signal, (piece) => {
    hash.update(piece);
    progress(hash.bytes);
  });
  return hash.digest();
}

async function eachPiece(file: File, signal: AbortSignal, take: (piece: Uint8Array, at: number) => void): Promise<void> {
  const reader = file.stream().getReader();
  let at = 0;
  try {
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) {
      signal.throwIfAborted();
      take(piece.value, at);
      at += piece.value.length;
    }
  } catch (cause) {
    signal.throwIfAborted();
    // The file was deleted or changed since the person picked it.
    throw isNamed(cause, "NotReadableError") || isNamed(cause, "NotFoundError")
      ? new SippError("invalid-model-source", `${file.name} cannot be read any more; pick it again`, { cause })
      : cause;
  } finally {
    reader.cancel().catch(() => undefined);
  }
  await turn();
}

interface Counter {
  at(phase: LoadProgress["phase"], name: string, bytes: number): void;
  note(name: string, note: LoadNote): void;
  next(): void;
}

/** Counts over all files of a model. */
function counter(missing: readonly Step[], progress: (progress: LoadProgress) => void): Counter {
  const sizes = missing.map((step) => ("file" in step ? step.file.size : "remote" in step ? step.remote.bytes : 0));
  const total = sizes.some((size) => size === undefined) ? null : sizes.reduce((sum: number, size) => sum + (size ?? 0), 0);
  let [before, own] = [0, 0];
  const told = (phase: LoadProgress["phase"], name: string): LoadProgress => {
    const loadedBytes = before + own;
    return { phase, loadedBytes, totalBytes: total, percent: total === null || total === 0 ? null : (loadedBytes / total) * 100, name };
  };
  return {
    at(phase, name, bytes) {
      own = bytes;
      progress(told(phase, name));
    },
    note: (name, note) => progress({ ...told("download", name), note }),
    next() {
      [before, own] = [before + own, 0];
    },
  };
}

function howOf(steps: readonly Step[]): Obtained["how"] {
  const all = new Set(steps.map((step) => ("have" in step ? step.how : "remote" in step ? "downloaded" : "copied")));
  return (["downloaded", "copied", "offline", "revalidated"] as const).find((how) => all.has(how)) ?? "installed";
}

async function withLocks<T>(names: readonly string[], signal: AbortSignal, onWait: () => void, work: () => Promise<T>): Promise<T> {
  const [first, ...others] = names;
  if (first === undefined) {
    return await work();
  }
  const inside = async (): Promise<{ value: T }> => ({ value: await withLocks(others, signal, onWait, work) });
  const at = await navigator.locks.request(first, { ifAvailable: true }, (lock) => (lock === null ? undefined : inside()));
  if (at !== undefined) {
    return ((await at) as { value: T }).value;
  }
  onWait();
  return ((await navigator.locks.request(first, { signal }, inside)) as { value: T }).value;
}

function lost(error: Lost): SippError {
  return new SippError("remote-load-failed", `${error.message}; what came is kept where the server allows to go on, try again`, { status: error.status, reason: "connection", cause: error });
}
