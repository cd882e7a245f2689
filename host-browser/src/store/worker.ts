/**
 * The store's worker: brings models into the origin's private file system, where only workers write at will.
 */

import { SippError } from "../error.ts";
import { asLoadError, download, forget, inspect, lockOf as downloadLock, type Remote } from "./download.ts";
import { access, folder, move, remove } from "./opfs.ts";
import type { Ask, Reply, SourceFile } from "./protocol.ts";
import { clean, describe, find, type InstalledFile, type InstalledModel, installed, lockOf, touch, uninstall } from "./registry.ts";
import { hashFile, hashText } from "./sha256.ts";
import type { LoadProgress } from "./source.ts";

/** Progress is told so often at most, in milliseconds. */
const TELL = 100;

/** Left free for what the browser itself notes, in bytes. */
const MARGIN = 1 << 20;

/** What other tabs tell of a model that both want. */
interface Shared {
  readonly key: string;
  readonly progress: LoadProgress;
}

const running = new Map<number, AbortController>();
const news = new BroadcastChannel("sipp-store");
const ready = Promise.all([clean(), forget()]);

globalThis.onmessage = (event: MessageEvent<Ask>) => {
  const ask = event.data;
  if (ask.verb === "abort") {
    running.get(ask.id)?.abort(new SippError("aborted", "the load was aborted"));
    return;
  }
  const controller = new AbortController();
  running.set(ask.id, controller);
  answer(ask, controller.signal)
    .then(
      (value) => reply({ id: ask.id, value }),
      (thrown: unknown) => reply({ id: ask.id, error: flat(controller.signal.aborted ? controller.signal.reason : thrown) }),
    )
    .finally(() => running.delete(ask.id));
};

function reply(message: Reply): void {
  (globalThis as unknown as { postMessage(message: unknown): void }).postMessage(message);
}

async function answer(ask: Exclude<Ask, { verb: "abort" }>, signal: AbortSignal): Promise<unknown> {
  await ready;
  switch (ask.verb) {
    case "obtain":
      return await obtain(ask.files, (progress) => reply({ id: ask.id, progress }), signal);
    case "find":
      return await find(ask.model);
    case "list":
      return await installed();
    case "remove":
      return await uninstall(ask.model);
    case "evict":
      return await evict(ask.bytes);
    case "verify":
      return await verify(ask.model, signal);
    case "touch":
      return await touch(ask.model);
  }
}

/** Installs a model, or finds it installed. Two tabs that want the same one bring it once. */
async function obtain(files: readonly SourceFile[], tell: (progress: LoadProgress) => void, signal: AbortSignal): Promise<InstalledModel> {
  const source = files.map((file) => ("url" in file ? file.url : file.file.name)).join("\n");
  const key = (await hashText(source)).slice(0, 24);
  const progress = throttled((told) => {
    tell(told);
    news.postMessage({ key, progress: told } satisfies Shared);
  });
  const follow = (event: MessageEvent<Shared>): void => {
    if (event.data.key === key) {
      tell(event.data.progress);
    }
  };
  news.addEventListener("message", follow);
  try {
    return await navigator.locks.request(downloadLock(key), { signal }, async () => {
      news.removeEventListener("message", follow);
      return files.every((file) => "url" in file)
        ? await fromRemote(files as readonly Extract<SourceFile, { url: string }>[], source, key, progress, signal)
        : await fromFiles(files as readonly Extract<SourceFile, { file: File }>[], source, key, progress, signal);
    });
  } catch (thrown) {
    throw asLoadError(thrown);
  } finally {
    news.removeEventListener("message", follow);
  }
}

async function fromRemote(
  files: readonly Extract<SourceFile, { url: string }>[],
  source: string,
  key: string,
  progress: (progress: LoadProgress) => void,
  signal: AbortSignal,
): Promise<InstalledModel> {
  const known = (await installed()).find((model) => model.source === source);
  if (known !== undefined && files.every((file, index) => file.sha256 !== undefined && file.sha256 === known.files[index]?.sha256)) {
    return known;
  }
  progress({ phase: "metadata", loadedBytes: 0, totalBytes: null, percent: null });
  let remotes: Remote[];
  try {
    remotes = await Promise.all(files.map((file) => inspect(file.url, signal)));
  } catch (thrown) {
    // Who is offline uses what there is; a server that answers has the word.
    const error = asLoadError(thrown);
    if (known !== undefined && error instanceof SippError && error.kind === "remote-load-failed" && error.details.status === undefined) {
      return known;
    }
    throw thrown;
  }
  const same = (file: InstalledFile | undefined, index: number): boolean => {
    const [remote, wanted] = [remotes[index], files[index]?.sha256];
    return file !== undefined && remote !== undefined && file.bytes === remote.bytes && file.version === remote.version && (wanted === undefined || wanted === file.sha256);
  };
  if (known !== undefined && known.files.length === files.length && known.files.every(same)) {
    return known;
  }
  const total = remotes.reduce((sum, { bytes }) => sum + bytes, 0);
  await needRoom(total);
  const id = `model-${(await hashText(JSON.stringify(remotes.map(({ url, bytes, version }) => [url, bytes, version])))).slice(0, 24)}`;
  return await fill(id, source, async (own) => {
    const stored: InstalledFile[] = [];
    let before = 0;
    for (const [index, remote] of remotes.entries()) {
      const name = nameOf(new URL(remote.url).pathname);
      const part = `${key}-${index}`;
      const told = (phase: LoadProgress["phase"]) => (bytes: number): void => progress(counted(phase, before + bytes, total, name));
      try {
        await download(part, remote, told("download"), signal);
        const sha256 = await check(part, files[index]?.sha256, remote.url, told("verify"), signal);
        const partial = await folder("partial", part);
        await move(partial, "data", own, name);
        stored.push({ name, path: `sipp/models/${id}/${name}`, bytes: remote.bytes, sha256, version: remote.version });
        await remove(await folder("partial"), part);
      } catch (thrown) {
        throw await withoutRoom(thrown, part, total);
      }
      before += remote.bytes;
    }
    return stored;
  });
}

/** What has come must be a GGUF file, with the hash that it must have; else it is removed. */
async function check(part: string, expected: string | undefined, name: string, progress: (bytes: number) => void, signal: AbortSignal): Promise<string | undefined> {
  const partial = await folder("partial", part);
  const data = await access(partial, "data");
  let failure: SippError | undefined;
  let sha256: string | undefined;
  try {
    const magic = new Uint8Array(4);
    data.read(magic, { at: 0 });
    if (new TextDecoder().decode(magic) !== "GGUF") {
      failure = new SippError("model", `${name} is not a GGUF file`, { fault: "not-gguf" });
    } else if (expected !== undefined) {
      sha256 = await hashFile(data, progress, signal);
      if (sha256 !== expected) {
        failure = new SippError("hash-mismatch", `${name} has the SHA-256 ${sha256}, not ${expected}; it was removed`);
      }
    }
  } finally {
    data.close();
  }
  if (failure !== undefined) {
    await remove(await folder("partial"), part);
    throw failure;
  }
  return sha256;
}

async function fromFiles(
  files: readonly Extract<SourceFile, { file: File }>[],
  source: string,
  key: string,
  progress: (progress: LoadProgress) => void,
  signal: AbortSignal,
): Promise<InstalledModel> {
  const total = files.reduce((sum, { file }) => sum + file.size, 0);
  await needRoom(total);
  const partial = await folder("partial");
  const hashes: string[] = [];
  let before = 0;
  try {
    for (const [index, { file, sha256: expected }] of files.entries()) {
      const part = `${key}-${index}`;
      await copy(file, part, (bytes) => progress(counted("store", before + bytes, total, file.name)), signal);
      // A file of this machine has no version but its contents.
      const own = await hashPart(part, (bytes) => progress(counted("verify", before + bytes, total, file.name)), signal);
      if (expected !== undefined && own !== expected) {
        throw new SippError("hash-mismatch", `${file.name} has the SHA-256 ${own}, not ${expected}; it was not stored`);
      }
      await check(part, undefined, file.name, () => undefined, signal);
      hashes.push(own);
      before += file.size;
    }
    const id = `model-${(await hashText(hashes.join("\n"))).slice(0, 24)}`;
    const known = await find(id);
    if (known !== undefined) {
      return known;
    }
    return await fill(id, source, async (own) => {
      const stored: InstalledFile[] = [];
      for (const [index, { file }] of files.entries()) {
        await move(await folder("partial", `${key}-${index}`), "data", own, file.name);
        stored.push({ name: file.name, path: `sipp/models/${id}/${file.name}`, bytes: file.size, sha256: hashes[index] });
      }
      return stored;
    });
  } catch (thrown) {
    throw await withoutRoom(thrown, undefined, total);
  } finally {
    await Promise.all(files.map((_, index) => remove(partial, `${key}-${index}`)));
  }
}

async function copy(file: File, part: string, progress: (bytes: number) => void, signal: AbortSignal): Promise<void> {
  const own = await folder("partial", part);
  const data = await access(own, "data");
  try {
    data.truncate(file.size);
    let at = 0;
    for await (const bytes of file.stream() as unknown as AsyncIterable<Uint8Array>) {
      signal.throwIfAborted();
      at += data.write(bytes, { at });
      progress(at);
    }
    data.flush();
  } finally {
    data.close();
  }
}

async function hashPart(part: string, progress: (bytes: number) => void, signal: AbortSignal): Promise<string> {
  const data = await access(await folder("partial", part), "data");
  try {
    return await hashFile(data, progress, signal);
  } finally {
    data.close();
  }
}

/** Fills a model's folder and describes it. Nobody cleans the folder meanwhile. */
async function fill(id: string, source: string, files: (own: FileSystemDirectoryHandle) => Promise<InstalledFile[]>): Promise<InstalledModel> {
  return await navigator.locks.request(lockOf(id), { mode: "shared" }, async () => {
    const stored = await files(await folder("models", id));
    const bytes = stored.reduce((sum, file) => sum + file.bytes, 0);
    const now = Date.now();
    const model = { id, name: stored[0]?.name ?? id, bytes, files: stored, source, createdAt: now, usedAt: now };
    await describe(model);
    return model;
  });
}

async function verify(id: string, signal: AbortSignal): Promise<void> {
  const model = await find(id);
  if (model === undefined) {
    throw new SippError("model", `there is no model \`${id}\``, { fault: "not-found" });
  }
  const own = await folder("models", id);
  for (const file of model.files) {
    const data = await access(own, file.name);
    try {
      const damaged = data.getSize() !== file.bytes || (file.sha256 !== undefined && (await hashFile(data, () => undefined, signal)) !== file.sha256);
      if (damaged) {
        throw new SippError("storage-corrupt", `${file.name} is not what was stored; remove the model and load it again`);
      }
    } finally {
      data.close();
    }
  }
}

/** Deletes models, the one used longest ago first, until so many bytes are free. */
async function evict(bytes: number): Promise<InstalledModel[]> {
  const deleted: InstalledModel[] = [];
  const models = await installed();
  for (let free = await room(); free < bytes; free = await room()) {
    const oldest = models.pop();
    if (oldest === undefined) {
      break;
    }
    try {
      await uninstall(oldest.id);
      deleted.push(oldest);
    } catch {
      // Somebody uses it.
    }
  }
  return deleted;
}

async function room(): Promise<number> {
  const { quota = 0, usage = 0 } = await navigator.storage.estimate();
  return Math.max(0, quota - usage - MARGIN);
}

async function needRoom(needed: number): Promise<void> {
  const available = await room();
  if (needed > available) {
    throw full(needed, available);
  }
}

function full(needed: number, available: number): SippError {
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  const text = `the model needs ${megabytes(needed)}, and this browser has ${megabytes(available)} left for this page; delete models`;
  return new SippError("storage-quota-exceeded", text, { storage: { needed, available } });
}

/** A failure for want of room as such; what has come is given up, so that the room is there again. */
async function withoutRoom(thrown: unknown, part: string | undefined, needed: number): Promise<unknown> {
  if (!(thrown instanceof DOMException) || thrown.name !== "QuotaExceededError") {
    return thrown;
  }
  if (part !== undefined) {
    await remove(await folder("partial"), part);
  }
  return full(needed, await room());
}

function counted(phase: LoadProgress["phase"], loadedBytes: number, totalBytes: number, name: string): LoadProgress {
  return { phase, loadedBytes, totalBytes, percent: (loadedBytes / totalBytes) * 100, name };
}

function throttled(tell: (progress: LoadProgress) => void): (progress: LoadProgress) => void {
  let last = 0;
  let phase = "";
  return (progress) => {
    const now = performance.now();
    if (progress.phase !== phase || now - last >= TELL || progress.loadedBytes === progress.totalBytes) {
      [last, phase] = [now, progress.phase];
      tell(progress);
    }
  };
}

function nameOf(path: string): string {
  const name = decodeURIComponent(path.split("/").at(-1) ?? "");
  return name === "" ? "model.gguf" : name.replaceAll(/[^\w.+-]/g, "_");
}

function flat(thrown: unknown): NonNullable<Extract<Reply, { error: unknown }>["error"]> {
  if (thrown instanceof SippError) {
    const { cause: _, ...details } = thrown.details;
    return { kind: thrown.kind, message: thrown.message, details };
  }
  return { kind: "internal", message: thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown), details: {} };
}
