/**
 * A file from an address, in pieces, several at once, that a reload or a crash does not lose.
 *
 * Each piece goes to its place in a file of the full length, is flushed, and then noted; so what is noted is there. A
 * server that sends no ranges is read in one stream, which begins anew after a failure.
 */

import { SippError } from "../error.ts";
import { access, type AccessHandle, folder, readText, remove, writeText } from "./opfs.ts";

/** Bytes of a piece: long enough that requests cost little, short enough that little is lost. */
const PIECE = 8 << 20;

/** Pieces on their way at once. */
const CONNECTIONS = 4;

/** How often a piece is asked for. */
const ATTEMPTS = 4;

/** Unfinished files are kept so long, in milliseconds: a week. */
const KEPT = 7 * 24 * 3600 * 1000;

/** What a server tells of a file. */
export interface Remote {
  readonly url: string;
  readonly bytes: number;
  /** Which version it is; empty where the server does not say, or may not tell this page. */
  readonly version: string;
  /** Whether it sends parts. */
  readonly ranges: boolean;
}

interface About {
  readonly url: string;
  readonly bytes: number;
  readonly version: string;
  readonly begunAt: number;
}

/** Asks what there is, by asking for its first byte. Many servers tell other origins no length in any other way. */
export async function inspect(url: string, signal: AbortSignal): Promise<Remote> {
  const response = await request(url, { range: "bytes=0-0" }, signal);
  if (response.status === 416) {
    throw new SippError("model", `${url} is not a GGUF file`, { fault: "not-gguf" });
  }
  const version = versionOf(response);
  const total = Number(response.headers.get("content-range")?.split("/")[1]);
  await response.body?.cancel();
  if (response.status === 206 && Number.isSafeInteger(total)) {
    return { url, bytes: total, version, ranges: true };
  }
  // The length of a whole file may be told where a range may not.
  const head = await request(url, {}, signal, "HEAD");
  const bytes = Number(head.headers.get("content-length") ?? Number.NaN);
  if (!Number.isSafeInteger(bytes) || bytes <= 0) {
    const text = `${url} does not tell its length; let its server send Content-Length, or pick a downloaded file`;
    throw new SippError("remote-metadata-unavailable", text, { status: head.status });
  }
  return { url, bytes, version, ranges: response.status === 206 };
}

/** Brings a file into a partial folder, or what is missing of it. Returns nothing: the file is `data` in the folder. */
export async function download(key: string, remote: Remote, progress: (bytes: number) => void, signal: AbortSignal): Promise<void> {
  const own = await begin(key, remote);
  const [data, done] = [await access(own, "data"), await access(own, "done")];
  try {
    if (data.getSize() !== remote.bytes) {
      data.truncate(remote.bytes);
      done.truncate(0);
    }
    if (remote.ranges) {
      await pieces(remote, data, done, progress, signal);
    } else {
      await stream(remote, data, progress, signal);
    }
    data.flush();
  } finally {
    data.close();
    done.close();
  }
}

/** The folder of a file on its way; emptied when the server has another file now. */
async function begin(key: string, { url, bytes, version }: Remote): Promise<FileSystemDirectoryHandle> {
  const own = await folder("partial", key);
  const about = parse(await readText(own, "about.json"));
  if (about?.url !== url || about.bytes !== bytes || about.version !== version) {
    await remove(own, "done");
    await remove(own, "data");
    await writeText(own, "about.json", JSON.stringify({ url, bytes, version, begunAt: Date.now() } satisfies About));
  }
  return own;
}

/** Removes unfinished files that nobody came back for. */
export async function forget(): Promise<void> {
  const partial = await folder("partial");
  for await (const [key, entry] of partial as unknown as AsyncIterable<[string, FileSystemHandle]>) {
    const about = entry.kind === "directory" ? parse(await readText(entry as FileSystemDirectoryHandle, "about.json")) : undefined;
    if (about === undefined || Date.now() - about.begunAt > KEPT) {
      await navigator.locks.request(lockOf(key), { ifAvailable: true }, async (lock) => {
        if (lock !== null) {
          await remove(partial, key);
        }
      });
    }
  }
}

/** The lock of whoever brings a file. */
export function lockOf(key: string): string {
  return `sipp-download-${key}`;
}

async function pieces(remote: Remote, data: AccessHandle, done: AccessHandle, progress: (bytes: number) => void, signal: AbortSignal): Promise<void> {
  const count = Math.ceil(remote.bytes / PIECE);
  const noted = new Uint8Array(count);
  done.read(noted, { at: 0 });
  const missing = [...noted.keys()].filter((piece) => noted[piece] !== 1);
  const sizeOf = (piece: number): number => Math.min(PIECE, remote.bytes - piece * PIECE);
  let here = remote.bytes - missing.reduce((sum, piece) => sum + sizeOf(piece), 0);
  progress(here);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  const bring = async (): Promise<void> => {
    for (let piece = missing.shift(); piece !== undefined; piece = missing.shift()) {
      const at = piece * PIECE;
      await retried(either, async () => {
        let written = 0;
        try {
          await range(remote, at, sizeOf(piece), either, (bytes) => {
            write(data, bytes, at + written);
            written += bytes.length;
            here += bytes.length;
            progress(here);
          });
        } catch (error) {
          here -= written;
          throw error;
        }
      });
      data.flush();
      done.write(Uint8Array.of(1), { at: piece });
      done.flush();
    }
  };
  try {
    await Promise.all(Array.from({ length: CONNECTIONS }, bring));
  } catch (error) {
    // The others' connections are of no use now.
    stop.abort();
    throw error;
  }
}

/** Reads one range; fails if the server sends another, or another version. */
async function range(remote: Remote, at: number, size: number, signal: AbortSignal, take: (bytes: Uint8Array) => void): Promise<void> {
  const response = await request(remote.url, { range: `bytes=${at}-${at + size - 1}` }, signal);
  const told = response.headers.get("content-range");
  const changed = versionOf(response) !== remote.version || (told !== null && Number(told.split("/")[1]) !== remote.bytes);
  if (response.status !== 206 || changed) {
    await response.body?.cancel();
    throw new SippError("remote-load-failed", `${remote.url} changed while it was read; try again`, { status: response.status });
  }
  let count = 0;
  await consume(response, (bytes) => {
    count += bytes.length;
    if (count > size) {
      throw new SippError("remote-load-failed", `${remote.url} sends more than was asked for`);
    }
    take(bytes);
  });
  if (count !== size) {
    throw new Lost(`${remote.url} sent ${count} of ${size} bytes`);
  }
}

async function stream(remote: Remote, data: AccessHandle, progress: (bytes: number) => void, signal: AbortSignal): Promise<void> {
  await retried(signal, async () => {
    let count = 0;
    await consume(await request(remote.url, {}, signal), (bytes) => {
      if (count + bytes.length > remote.bytes) {
        throw new SippError("remote-load-failed", `${remote.url} sends more than it told`);
      }
      write(data, bytes, count);
      count += bytes.length;
      progress(count);
    });
    if (count !== remote.bytes) {
      throw new Lost(`${remote.url} sent ${count} of ${remote.bytes} bytes`);
    }
  });
}

/** A connection that ended early; another attempt may succeed. */
class Lost extends Error {}

async function retried(signal: AbortSignal, attempt: () => Promise<void>): Promise<void> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await attempt();
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Lost)) {
        throw error;
      }
      if (tried === ATTEMPTS) {
        throw new SippError("remote-load-failed", `${error.message}; what has come is kept, try again`, { cause: error });
      }
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** tried));
    }
  }
}

async function consume(response: Response, take: (bytes: Uint8Array) => void): Promise<void> {
  const reader = response.body?.getReader();
  for (;;) {
    let piece: ReadableStreamReadResult<Uint8Array> | undefined;
    try {
      piece = await reader?.read();
    } catch (cause) {
      throw new Lost(`${response.url}: the connection was lost`, { cause });
    }
    if (piece === undefined || piece.done) {
      return;
    }
    take(piece.value);
  }
}

async function request(url: string, headers: Record<string, string>, signal: AbortSignal, method = "GET"): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(url, { method, headers, signal, cache: "no-store", credentials: "omit" });
  } catch (cause) {
    signal.throwIfAborted();
    throw new Lost(`${url} cannot be reached, or does not allow this page's origin (CORS)`, { cause });
  }
  if (response.status === 404 || response.status === 410) {
    throw new SippError("model", `there is no file ${url}`, { fault: "not-found", status: response.status });
  }
  if (response.status === 429 || response.status >= 500) {
    await response.body?.cancel();
    throw new Lost(`${url} answered ${response.status}`);
  }
  // No first byte: the file is empty.
  if (!response.ok && response.status !== 416) {
    throw new SippError("remote-load-failed", `${url} answered ${response.status}`, { status: response.status });
  }
  return response;
}

/** What a server calls a version of a file, where this page may see it. */
function versionOf(response: Response): string {
  return response.headers.get("etag") ?? response.headers.get("last-modified") ?? "";
}

function write(data: AccessHandle, bytes: Uint8Array, at: number): void {
  if (data.write(bytes, { at }) !== bytes.length) {
    throw new DOMException("a write was cut short", "QuotaExceededError");
  }
}

function parse(text: string | undefined): About | undefined {
  try {
    return text === undefined ? undefined : (JSON.parse(text) as About);
  } catch {
    return undefined;
  }
}

/** As an error of this package. A lost connection outside of retries is one that never was. */
export function asLoadError(error: unknown): unknown {
  return error instanceof Lost ? new SippError("remote-load-failed", error.message, { cause: error }) : error;
}
