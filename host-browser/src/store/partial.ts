/**
 * A file on its way: its bytes at their places, and a note of what is there that a reload or a crash does not lose.
 *
 * The note is written after the bytes that it tells of were flushed, about once a second. The file is hashed as it grows
 * from its beginning; what came out of order is read back when the gap before it has closed.
 */

import { type AccessHandle, access, folder, namesIn, pathOf, readJson, remove, sizeOf, writeAll, writeText } from "./opfs.ts";
import { added, areRanges, covered, prefix, type Range } from "./ranges.ts";
import { beginHash, type Hash, hashOn } from "./sha256.ts";

/** What is noted of a file on its way. */
export interface Note {
  /** Where it comes from; empty if from this machine. */
  readonly url: string;
  readonly version: string;
  /** Its length, or null while that is not known. */
  readonly bytes: number | null;
  /** Its name in `files`. */
  readonly file: string;
  readonly ranges: readonly Range[];
  readonly hash: { readonly bytes: number; readonly state: string } | null;
  /** The hash of all of it, once it is whole. */
  readonly sha256: string | null;
  readonly savedAt: number;
}

/** Unfinished files are kept so long, in milliseconds: a week. */
const KEPT = 7 * 24 * 3600 * 1000;

/** How often a note is written, in milliseconds. */
const SAVE = 1000;

/** Most bytes that are read back and hashed at once, so that messages are heard in between. */
const CATCH_UP = 4 << 20;

/** The lock of whoever brings a file. */
export function lockOf(key: string): string {
  return `sipp-file-${key}`;
}

/** What is noted under a key, if it is whole and its bytes are there. */
export async function noteOf(key: string): Promise<Note | undefined> {
  const note = (await readJson(await folder("partial"), `${key}.json`)) as Note | undefined;
  if (note === undefined || typeof note.file !== "string") {
    return undefined;
  }
  const size = await sizeOf(await folder("files"), note.file);
  const whole = size !== undefined && (note.bytes === null || (size === note.bytes && areRanges(note.ranges, note.bytes)));
  return whole ? note : undefined;
}

/** Drops what is noted under a key; with its bytes, unless they are installed now. */
export async function drop(key: string, keepBytes = false): Promise<void> {
  const partial = await folder("partial");
  const note = (await readJson(partial, `${key}.json`)) as Note | undefined;
  if (note !== undefined && !keepBytes) {
    await remove(await folder("files"), note.file);
  }
  await remove(partial, `${key}.json`);
}

/** The unfinished files that nobody works at now. */
export async function idle(): Promise<{ readonly key: string; readonly note: Note | undefined }[]> {
  const partial = await folder("partial");
  const { held = [] } = await navigator.locks.query();
  const busy = new Set(held.map(({ name }) => name));
  const keys = (await namesIn(partial, ".json")).map((name) => name.slice(0, -".json".length));
  return await Promise.all(keys.filter((key) => !busy.has(lockOf(key))).map(async (key) => ({ key, note: await noteOf(key) })));
}

/** Drops unfinished files that nobody works at, where `which` says so. */
export async function dropIdle(which: (note: Note | undefined) => boolean): Promise<void> {
  for (const { key, note } of await idle()) {
    if (which(note)) {
      await navigator.locks.request(lockOf(key), { ifAvailable: true }, async (lock) => {
        if (lock !== null) {
          await drop(key);
        }
      });
    }
  }
}

/** Whether nobody will come back for an unfinished file. */
export function isForgotten(note: Note | undefined): boolean {
  return note === undefined || note.url === "" || Date.now() - note.savedAt > KEPT;
}

/** A file on its way. Whoever opens one has its lock. */
export class Partial {
  readonly key: string;
  readonly #handle: AccessHandle;
  #note: Note;
  #hash: Hash;
  #ranges: Range[];
  #buffer: Uint8Array | undefined;
  #saved = performance.now();
  #saving: Promise<void> | undefined;
  #failure: unknown;

  private constructor(key: string, handle: AccessHandle, note: Note, hash: Hash) {
    this.key = key;
    this.#handle = handle;
    this.#note = note;
    this.#hash = hash;
    this.#ranges = [...note.ranges];
  }

  /** Goes on with what is noted. */
  static async resume(key: string, note: Note): Promise<Partial> {
    const hash = await beginHash(note.hash?.bytes, note.hash?.state);
    return new Partial(key, await access(await folder("files"), note.file), note, hash);
  }

  /** Begins anew. The note is there before the file, so that nobody takes the file for a remainder. */
  static async begin(key: string, { url, version, bytes }: Pick<Note, "url" | "version" | "bytes">): Promise<Partial> {
    await drop(key);
    const file = `${key.slice(0, 24)}-${Date.now().toString(36)}.gguf`;
    const note: Note = { url, version, bytes, file, ranges: [], hash: null, sha256: null, savedAt: Date.now() };
    await writeText(await folder("partial"), `${key}.json`, JSON.stringify(note));
    const handle = await access(await folder("files"), file);
    try {
      // All room is taken at once: if it is not there, that shows before anything is loaded.
      handle.truncate(bytes ?? 0);
    } catch (error) {
      handle.close();
      await drop(key);
      throw error;
    }
    return new Partial(key, handle, note, await beginHash());
  }

  get ranges(): readonly Range[] {
    return this.#ranges;
  }

  /** Bytes that are there. */
  get loaded(): number {
    return covered(this.#ranges);
  }

  get file(): string {
    return this.#note.file;
  }

  get path(): string {
    return pathOf(this.#note.file);
  }

  /** Reads bytes that are there. */
  readonly read = (into: Uint8Array, at: number): number => this.#handle.read(into, { at });

  /** Puts bytes to their place. */
  write(bytes: Uint8Array, at: number): void {
    if (this.#failure !== undefined) {
      throw this.#failure;
    }
    writeAll(this.#handle, bytes, at);
    this.#ranges = added(this.#ranges, [at, at + bytes.length]);
    if (at === this.#hash.bytes) {
      this.#hash.update(bytes);
    }
    this.#catchUp();
    if (performance.now() - this.#saved > SAVE && this.#saving === undefined) {
      this.save().catch((error: unknown) => (this.#failure = error));
    }
  }

  #catchUp(): void {
    const behind = Math.min(prefix(this.#ranges) - this.#hash.bytes, CATCH_UP);
    if (behind > 0) {
      this.#buffer ??= new Uint8Array(CATCH_UP);
      const count = this.#handle.read(this.#buffer.subarray(0, behind), { at: this.#hash.bytes });
      this.#hash.update(this.#buffer.subarray(0, count));
    }
  }

  /** Forgets what came, to read it once more from its beginning. */
  async restart(): Promise<void> {
    this.#ranges = [];
    this.#hash = await beginHash();
    this.#handle.truncate(this.#note.bytes ?? 0);
  }

  /** Notes what is there. */
  async save(): Promise<void> {
    await this.#saving;
    this.#handle.flush();
    this.#saved = performance.now();
    const hash = this.#hash.bytes === 0 ? null : { bytes: this.#hash.bytes, state: this.#hash.note() };
    this.#note = { ...this.#note, ranges: this.#ranges, hash, savedAt: Date.now() };
    await this.#write();
  }

  /** Hashes what is left, notes that the file is whole and returns its hash. */
  async finish(bytes: number, progress: (bytes: number) => void, signal: AbortSignal): Promise<string> {
    await hashOn(this.#hash, this.#handle, bytes, progress, signal);
    await this.#saving;
    this.#handle.flush();
    const sha256 = this.#hash.digest();
    this.#note = { ...this.#note, bytes, ranges: [[0, bytes]], hash: null, sha256, savedAt: Date.now() };
    await this.#write();
    return sha256;
  }

  async #write(): Promise<void> {
    const text = JSON.stringify(this.#note);
    this.#saving = (async () => writeText(await folder("partial"), `${this.key}.json`, text))();
    try {
      await this.#saving;
    } finally {
      this.#saving = undefined;
    }
  }

  /** Closes the file; it stays as it was noted. */
  async close(): Promise<void> {
    await this.#saving?.catch(() => undefined);
    this.#handle.close();
  }
}
