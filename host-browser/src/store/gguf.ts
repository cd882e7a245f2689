/**
 * Whether a stored file is a whole GGUF file, told from its header.
 *
 * A body that was cut off where its server thought that it ends has the length that the server tells, so only the header
 * knows. Says it in the words of `engine-sys/src/gguf.rs`, which checks the rest before a model is loaded.
 * Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.
 */

import { SippError } from "../error.ts";

/** Reads bytes of a file into a buffer, from a place on; returns how many. */
export type ReadAt = (into: Uint8Array, at: number) => number;

/** What the header tells. */
export interface Header {
  readonly architecture: string;
}

const WINDOW = 1 << 18;
const DEFAULT_ALIGNMENT = 32;

/** Bytes of GGUF's scalar types, by their number; 8 is text and 9 an array. */
const SCALARS: readonly number[] = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8];
const STRING = 8;
const ARRAY = 9;
const UINT32 = 4;

/** ggml's types: values in a block, and the block's bytes. A type that is not listed is the engine's to judge. */
const BLOCKS: Readonly<Record<number, readonly [values: number, bytes: number]>> = {
  0: [1, 4], 1: [1, 2], 2: [32, 18], 3: [32, 20], 6: [32, 22], 7: [32, 24], 8: [32, 34], 9: [32, 36],
  10: [256, 84], 11: [256, 110], 12: [256, 144], 13: [256, 176], 14: [256, 210], 15: [256, 292],
  16: [256, 66], 17: [256, 74], 18: [256, 98], 19: [256, 50], 20: [32, 18], 21: [256, 110], 22: [256, 82], 23: [256, 136],
  24: [1, 1], 25: [1, 2], 26: [1, 4], 27: [1, 8], 28: [1, 8], 29: [256, 56], 30: [1, 2], 34: [256, 54], 35: [256, 66], 39: [32, 17],
};

/** Whether a file begins as a GGUF file does. */
export function hasMagic(bytes: Uint8Array): boolean {
  return bytes.length >= 4 && new TextDecoder("latin1").decode(bytes.subarray(0, 4)) === "GGUF";
}

/** The error of a file that is none. */
export function notGguf(name: string): SippError {
  return new SippError("model", `${name} is not a GGUF file`, { fault: "not-gguf" });
}

/** Reads the header of a file of `size` bytes. Fails if it is not a whole GGUF file. */
export function checkGguf(read: ReadAt, size: number, name: string): Header {
  const reader = new Reader(read, size, name);
  if (size < 4 || !hasMagic(reader.take(4))) {
    throw notGguf(name);
  }
  const version = reader.u32();
  if (version !== 2 && version !== 3) {
    throw reader.damaged(`GGUF version ${version} is not known`);
  }
  const tensors = reader.u64();
  const keys = reader.u64();
  let architecture = "";
  let alignment = DEFAULT_ALIGNMENT;
  for (let key = 0; key < keys; key += 1) {
    const label = reader.text();
    const kind = reader.u32();
    if (label === "general.architecture" && kind === STRING) {
      architecture = reader.text();
    } else if (label === "general.alignment" && kind === UINT32) {
      alignment = Math.max(1, reader.u32());
    } else {
      reader.skipValue(kind);
    }
  }
  let end = 0;
  for (let tensor = 0; tensor < tensors; tensor += 1) {
    reader.skip(reader.u64());
    const dimensions = reader.u32();
    let values = 1;
    for (let dimension = 0; dimension < dimensions; dimension += 1) {
      values *= reader.u64();
    }
    const [block, bytes] = BLOCKS[reader.u32()] ?? [1, 0];
    end = Math.max(end, reader.u64() + Math.ceil(values / block) * bytes);
  }
  const needed = Math.ceil(reader.position / alignment) * alignment + end;
  if (end > 0 && needed > size) {
    throw reader.damaged(`it has ${size} bytes and needs ${needed}; it may not be downloaded to its end`);
  }
  return { architecture };
}

class Reader {
  readonly #read: ReadAt;
  readonly #size: number;
  readonly #name: string;
  readonly #window = new Uint8Array(WINDOW);
  #start = 0;
  #filled = 0;
  position = 0;

  constructor(read: ReadAt, size: number, name: string) {
    this.#read = read;
    this.#size = size;
    this.#name = name;
  }

  damaged(what: string): SippError {
    return new SippError("model", `${this.#name} is damaged: ${what}`, { fault: "corrupt" });
  }

  u32(): number {
    const bytes = this.take(4);
    return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  }

  u64(): number {
    const bytes = this.take(8);
    return Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
  }

  text(): string {
    const size = this.u64();
    if (size > WINDOW) {
      throw this.damaged("a name is too long");
    }
    return new TextDecoder().decode(this.take(size));
  }

  skipValue(kind: number): void {
    if (kind === STRING) {
      this.skip(this.u64());
      return;
    }
    if (kind !== ARRAY) {
      this.skip(this.#scalar(kind));
      return;
    }
    const inner = this.u32();
    const length = this.u64();
    if (inner !== STRING) {
      this.skip(this.#scalar(inner) * length);
      return;
    }
    for (let item = 0; item < length; item += 1) {
      this.skip(this.u64());
    }
  }

  skip(size: number): void {
    this.#roomFor(size);
    this.position += size;
  }

  /** The next bytes; valid until the next call. */
  take(size: number): Uint8Array {
    this.#roomFor(size);
    if (this.position < this.#start || this.position + size > this.#start + this.#filled) {
      this.#start = this.position;
      this.#filled = this.#read(this.#window, this.position);
      if (this.#filled < size) {
        throw this.damaged("it ends inside its header");
      }
    }
    const at = this.position - this.#start;
    this.position += size;
    return this.#window.subarray(at, at + size);
  }

  #scalar(kind: number): number {
    const bytes = SCALARS[kind];
    if (bytes === undefined || bytes === 0) {
      throw this.damaged("a key has a type that is not known");
    }
    return bytes;
  }

  #roomFor(size: number): void {
    if (size > this.#size - this.position) {
      throw this.damaged("it ends inside its header");
    }
  }
}
