/**
 * The models that cases name: the one of the tree, and files that are broken in one way each, made from it.
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Names of models that exist or ought to. */
export const NAMES = ["demo", "missing", "folder", "empty", "noise", "truncated", "unknown-architecture", "no-template"];

/** A folder with the models. */
export class Models {
  readonly folder = mkdtempSync(join(tmpdir(), "sipp-cases-"));

  constructor(demo: string) {
    const bytes = readFileSync(demo);
    const write = (name: string, contents: Uint8Array): void => writeFileSync(this.path(name), contents);
    mkdirSync(this.path("folder"));
    write("demo", bytes);
    write("empty", new Uint8Array());
    write("noise", noise(1 << 16));
    write("truncated", bytes.subarray(0, bytes.length >> 1));
    write("unknown-architecture", replaced(bytes, "general.architecture", "llama", "lemur"));
    write("no-template", replaced(bytes, "", "tokenizer.chat_template", "tokenizer.that_template"));
  }

  path(name: string): string {
    if (!NAMES.includes(name)) {
      throw new Error(`there is no model ${name}`);
    }
    return join(this.folder, `${name}.gguf`);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}

/** Bytes without meaning, the same every time. */
function noise(size: number): Uint8Array {
  let state = 1;
  return Uint8Array.from({ length: size }, () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 24;
  });
}

/** The file with the first `from` after `key` replaced by as many bytes. */
function replaced(bytes: Buffer, key: string, from: string, to: string): Uint8Array {
  const at = bytes.indexOf(from, bytes.indexOf(key) + key.length);
  if (at < 0 || from.length !== to.length) {
    throw new Error(`the demo model has no ${from}`);
  }
  const copy = Buffer.from(bytes);
  copy.write(to, at);
  return copy;
}
