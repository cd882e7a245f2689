/**
 * Brings a file from an address into a partial file: in pieces, several at once, or where that is not safe in one stream.
 *
 * Pieces of different moments may be put together only if something tells that they are of one version: the server's
 * ETag or date, or the hash that the caller expects. Without either, a break begins anew.
 */

import { drop, type Note, noteOf, Partial } from "./partial.ts";
import { gaps, pieces } from "./ranges.ts";
import { Changed, inspect, NoRanges, readRange, readWhole, type Remote } from "./remote.ts";
import type { LoadNote } from "./source.ts";

/** Bytes of a piece: long enough that requests cost little, short enough that the connections end together. */
const PIECE = 8 << 20;

/** Pieces on their way at once. */
const CONNECTIONS = 4;

/** How often a file may change while it is read. */
const RESTARTS = 3;

/** What is told on the way. */
export interface Listener {
  progress(bytes: number, total: number | undefined): void;
  note(note: LoadNote): void;
}

/** Whether pieces of this file may be put together. */
export function isResumable(remote: Remote, expected: string | undefined): boolean {
  return remote.ranges && remote.bytes !== undefined && (remote.version !== "" || expected !== undefined);
}

/** What is noted under a key, if this file can go on from there. */
export async function resumable(key: string, remote: Remote, expected: string | undefined): Promise<Note | undefined> {
  const note = await noteOf(key);
  const same = note?.url === remote.url && note.version === remote.version && note.bytes === remote.bytes;
  return same && isResumable(remote, expected) ? note : undefined;
}

/** Brings what is missing. The file is whole afterwards, and open; who gets it closes it. */
export async function download(key: string, first: Remote, expected: string | undefined, listener: Listener, signal: AbortSignal): Promise<{ partial: Partial; bytes: number }> {
  let remote = first;
  for (let restart = 0; ; restart += 1) {
    const note = await resumable(key, remote, expected);
    const partial = note === undefined ? await Partial.begin(key, { url: remote.url, version: remote.version, bytes: remote.bytes ?? null }) : await Partial.resume(key, note);
    try {
      if (isResumable(remote, expected)) {
        if (partial.loaded > 0) {
          listener.note({ code: "resumed", text: `${partial.loaded} bytes of ${remote.url} were there already`, bytes: partial.loaded });
        }
        return { partial, bytes: await parts(remote, partial, listener, signal) };
      }
      const why = remote.ranges ? "tells no version of the file that this page may see" : "sends no parts of a file";
      listener.note({ code: "not-resumable", text: `${remote.url} ${why}; after a break it begins anew` });
      return { partial, bytes: await stream(remote, partial, listener, signal) };
    } catch (error) {
      await partial.close();
      if (!isResumable(remote, expected)) {
        await drop(key);
      }
      if (restart === RESTARTS || !(error instanceof Changed || error instanceof NoRanges)) {
        throw error;
      }
      if (error instanceof Changed) {
        listener.note({ code: "changed", text: `${error.message}; it is brought anew` });
        remote = await inspect(remote.url, signal);
      } else {
        remote = { ...remote, ranges: false };
      }
    }
  }
}

async function parts(remote: Remote, partial: Partial, listener: Listener, signal: AbortSignal): Promise<number> {
  const bytes = remote.bytes ?? 0;
  const missing = pieces(gaps(partial.ranges, bytes), PIECE);
  const stop = new AbortController();
  const either = AbortSignal.any([signal, stop.signal]);
  let loaded = partial.loaded;
  listener.progress(loaded, bytes);
  const bring = async (): Promise<void> => {
    for (const [from, to] of missing) {
      await readRange(remote, from, to, either, (piece, at) => {
        partial.write(piece, at);
        loaded += piece.length;
        listener.progress(loaded, bytes);
      });
    }
  };
  const brought = Array.from({ length: CONNECTIONS }, bring);
  try {
    await Promise.all(brought);
  } catch (error) {
    // The others' connections are of no use now, and must be over before the file is closed.
    stop.abort(error);
    await Promise.allSettled(brought);
    await partial.save().catch(() => undefined);
    throw error;
  }
  return bytes;
}

async function stream(remote: Remote, partial: Partial, listener: Listener, signal: AbortSignal): Promise<number> {
  return await readWhole(remote, signal, () => partial.restart(), (piece, at) => {
    partial.write(piece, at);
    listener.progress(at + piece.length, remote.bytes);
  });
}
