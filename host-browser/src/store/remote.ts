/**
 * A file at an address: what its server tells of it, and its bytes, asked for until they are there or hope is gone.
 *
 * A server tells pages of other origins little: not the length behind a range, often no ETag. What can be learned without
 * asking for permission first is learned from the answers themselves, so no request here needs a preflight.
 */

import { SippError } from "../error.ts";
import { hasMagic, notGguf } from "./gguf.ts";

/** What a server tells of a file. */
export interface Remote {
  readonly url: string;
  /** Absent where the server tells no length. */
  readonly bytes: number | undefined;
  /** Which version it is; empty where the server does not say, or may not tell this page. */
  readonly version: string;
  /** Whether it sends parts. */
  readonly ranges: boolean;
}

/** A connection that failed in a way that can pass. `status` where the server answered. */
export class Lost extends Error {
  readonly status: number | undefined;
  /** Milliseconds that the server asks to wait. */
  readonly wait: number;

  constructor(message: string, { cause, status, wait = 0 }: { cause?: unknown; status?: number; wait?: number } = {}) {
    super(message, { cause });
    this.status = status;
    this.wait = wait;
  }
}

/** The server has another version now than when reading began. */
export class Changed extends Error {}

/** A server that promised ranges sent the whole file. */
export class NoRanges extends Error {}

/** How often in a row something may fail without a byte in between. */
const ATTEMPTS = 5;

/** The first wait, in milliseconds; it doubles. */
const BACKOFF = 300;

/** Longest wait that a server is granted, in milliseconds. */
const LONGEST = 20_000;

/** A connection without a byte for so long is given up, in milliseconds; also before its answer begins. */
const STALL = 30_000;

/** Enough to see that it is a GGUF file, and whether the server sends parts. */
const PROBE = 8;

/** Asks what there is, by asking for its first bytes. Fails if it cannot be a GGUF file. */
export async function inspect(url: string, signal: AbortSignal): Promise<Remote> {
  try {
    return await retried(signal, 2, () => inspectOnce(url, signal));
  } catch (error) {
    if (!(error instanceof Lost)) {
      throw error;
    }
    if (error.status !== undefined) {
      throw new SippError("remote-load-failed", error.message, { status: error.status, cause: error });
    }
    const cors = await refusesOrigin(url, signal);
    const text = cors
      ? `${url} does not allow this page's origin; let its server send Access-Control-Allow-Origin, or pick a downloaded file`
      : `${url} cannot be reached, or does not allow this page's origin (CORS)`;
    throw new SippError("remote-metadata-unavailable", text, { reason: cors ? "cors" : "network", cause: error });
  }
}

async function inspectOnce(url: string, signal: AbortSignal): Promise<Remote> {
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  try {
    const response = await request(url, { range: `bytes=0-${PROBE - 1}` }, either);
    if (response.status === 416) {
      throw notGguf(url);
    }
    const version = versionOf(response);
    if (response.status !== 206) {
      return { url, bytes: lengthOf(response), version, ranges: false };
    }
    const told = totalOf(response);
    if (!hasMagic(new Uint8Array(await response.arrayBuffer()))) {
      throw notGguf(url);
    }
    // Where a range's total is hidden from this page, the length of the whole may still be told.
    const bytes = told ?? lengthOf(await request(url, { range: "bytes=0-" }, either, "HEAD"));
    return { url, bytes, version, ranges: bytes !== undefined };
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  } finally {
    // Whatever is still on its way of a whole file.
    stop.abort();
  }
}

/** Reads a range, from where `take` is left off after a failure; each piece is taken as it comes. */
export async function readRange(remote: Remote, from: number, to: number, signal: AbortSignal, take: (bytes: Uint8Array, at: number) => void): Promise<void> {
  let at = from;
  let failed = 0;
  while (at < to) {
    const before = at;
    try {
      const response = await request(remote.url, { range: `bytes=${at}-${to - 1}`, ...condition(remote) }, signal);
      judge(remote, response);
      await consume(response, signal, (bytes) => {
        if (at + bytes.length > to) {
          throw new SippError("remote-load-failed", `${remote.url} sends more than was asked for`, { status: response.status });
        }
        take(bytes, at);
        at += bytes.length;
      });
      if (at < to) {
        throw new Lost(`${remote.url} ended ${to - at} bytes early`);
      }
    } catch (error) {
      failed = at > before ? 1 : failed + 1;
      await pause(error, failed, ATTEMPTS, signal);
    }
  }
}

/** Reads the whole file at once. Returns how many bytes came. `begin` is called before each attempt. */
export async function readWhole(remote: Remote, signal: AbortSignal, begin: () => Promise<void>, take: (bytes: Uint8Array, at: number) => void): Promise<number> {
  return await retried(signal, ATTEMPTS, async () => {
    await begin();
    let at = 0;
    const response = await request(remote.url, { range: "bytes=0-" }, signal);
    await consume(response, signal, (bytes) => {
      if (remote.bytes !== undefined && at + bytes.length > remote.bytes) {
        throw new SippError("remote-load-failed", `${remote.url} sends more than the ${remote.bytes} bytes that it told`);
      }
      take(bytes, at);
      at += bytes.length;
    });
    if (remote.bytes !== undefined && at !== remote.bytes) {
      throw new Lost(`${remote.url} sent ${at} of ${remote.bytes} bytes`);
    }
    return at;
  });
}

/** A header that makes the server send the whole file if it changed. Other origins would have to allow it first. */
function condition({ url, version }: Remote): Record<string, string> {
  const own = new URL(url).origin === globalThis.location.origin;
  return own && version !== "" && !version.startsWith("W/") ? { "if-range": version } : {};
}

function judge(remote: Remote, response: Response): void {
  const total = totalOf(response);
  if (versionOf(response) !== remote.version || (total !== undefined && total !== remote.bytes)) {
    throw new Changed(`${remote.url} changed while it was read`);
  }
  if (response.status !== 206) {
    throw new NoRanges(`${remote.url} answered ${response.status} to a range`);
  }
}

async function retried<T>(signal: AbortSignal, attempts: number, attempt: () => Promise<T>): Promise<T> {
  for (let tried = 1; ; tried += 1) {
    try {
      return await attempt();
    } catch (error) {
      await pause(error, tried, attempts, signal);
    }
  }
}

/** Waits before another attempt; throws the error if there shall be none. */
async function pause(error: unknown, failed: number, attempts: number, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  if (!(error instanceof Lost) || failed >= attempts) {
    throw error;
  }
  const wait = Math.min(LONGEST, Math.max(error.wait, BACKOFF * 2 ** (failed - 1)));
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, wait);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
  signal.throwIfAborted();
}

async function consume(response: Response, signal: AbortSignal, take: (bytes: Uint8Array) => void): Promise<void> {
  const reader = response.body?.getReader();
  if (reader === undefined) {
    return;
  }
  let stalled = false;
  let timer = 0;
  const watch = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      stalled = true;
      reader.cancel().catch(() => undefined);
    }, STALL) as unknown as number;
  };
  try {
    for (;;) {
      watch();
      const piece = await reader.read().catch((cause: unknown) => {
        signal.throwIfAborted();
        throw new Lost(`the connection to ${response.url} was lost`, { cause });
      });
      if (stalled) {
        throw new Lost(silent(response.url));
      }
      if (piece.done) {
        return;
      }
      take(piece.value);
    }
  } finally {
    clearTimeout(timer);
    // What is no longer wanted must not go on coming.
    reader.cancel().catch(() => undefined);
  }
}

async function request(url: string, headers: Record<string, string>, signal: AbortSignal, method = "GET"): Promise<Response> {
  let response: Response;
  const silence = new AbortController();
  const timer = setTimeout(() => silence.abort(), STALL);
  try {
    const either = AbortSignal.any([signal, silence.signal]);
    response = await fetch(url, { method, headers, signal: either, cache: "no-store", credentials: "omit" });
  } catch (cause) {
    signal.throwIfAborted();
    throw new Lost(silence.signal.aborted ? silent(url) : `${url} cannot be reached`, { cause });
  } finally {
    clearTimeout(timer);
  }
  const { status } = response;
  if (response.ok || status === 416) {
    return response;
  }
  await response.body?.cancel();
  if (status === 404 || status === 410) {
    throw new SippError("model", `there is no file ${url}`, { fault: "not-found", status });
  }
  if (status === 408 || status === 429 || status >= 500) {
    const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
    throw new Lost(`${url} answered ${status}`, { status, wait: seconds > 0 ? seconds * 1000 : 0 });
  }
  throw new SippError("remote-load-failed", `${url} answered ${status}`, { status });
}

function silent(url: string): string {
  return `${url} sent nothing for ${STALL / 1000} s`;
}

/** Whether the server is there, and it is only that this page may not read its answers. */
async function refusesOrigin(url: string, signal: AbortSignal): Promise<boolean> {
  try {
    await fetch(url, { method: "HEAD", mode: "no-cors", signal, cache: "no-store", credentials: "omit" });
    return true;
  } catch {
    signal.throwIfAborted();
    return false;
  }
}

/** What a server calls a version of a file, where this page may see it. */
function versionOf(response: Response): string {
  return response.headers.get("etag") ?? response.headers.get("last-modified") ?? "";
}

function totalOf(response: Response): number | undefined {
  return counted(response.headers.get("content-range")?.split("/")[1]);
}

function lengthOf(response: Response): number | undefined {
  return counted(response.headers.get("content-length"));
}

function counted(text: string | null | undefined): number | undefined {
  const count = Number(text ?? Number.NaN);
  return Number.isSafeInteger(count) && count > 0 ? count : undefined;
}
