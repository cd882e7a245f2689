/**
 * The models that cases name: the one of the tree, and files that differ from it in one way each, most of them broken.
 */

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Names of models that exist or ought to. */
export const NAMES = ["demo", "missing", "folder", "empty", "noise", "truncated", "unknown-architecture", "no-template", "tools"];

/** The key of a model's chat template. */
const TEMPLATE = "tokenizer.chat_template";

/** What tensors are aligned to in a GGUF file. */
const ALIGNMENT = 32;

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
    write("no-template", replaced(bytes, "", TEMPLATE, "tokenizer.that_template"));
    const template = readFileSync(new URL("../../tests/cases/tools.jinja", import.meta.url), "utf8");
    write("tools", withTemplate(bytes, template.trimEnd()));
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

/** The model with another chat template, which is filled up so that the tensors stay aligned. */
function withTemplate(bytes: Buffer, template: string): Uint8Array {
  // After the key: the value's type, its length, and itself.
  const lengthAt = bytes.indexOf(TEMPLATE) + TEMPLATE.length + 4;
  const length = Number(bytes.readBigUInt64LE(lengthAt));
  // A comment of at least four characters.
  const missing = 4 + ((length + 2 * ALIGNMENT - 4 - (Buffer.byteLength(template) % ALIGNMENT)) % ALIGNMENT);
  const value = Buffer.from(`${template}{#${" ".repeat(missing - 4)}#}`);
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(value.length));
  return Buffer.concat([bytes.subarray(0, lengthAt), size, value, bytes.subarray(lengthAt + 8 + length)]);
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
