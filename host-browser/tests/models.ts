/**
 * The models that cases name, as the native tests write them too.
 */

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { TREE } from "./case.ts";

const PROGRAM = join(TREE, "target/release/test-models");

/** A folder with the models. */
export class Models {
  readonly folder = mkdtempSync(join(tmpdir(), "sipp-cases-"));
  /** Names of models that exist or ought to. */
  readonly names: readonly string[];

  constructor() {
    execFileSync(PROGRAM, [this.folder]);
    this.names = [...readdirSync(this.folder).map((file) => file.replace(/\.gguf$/, "")), "missing"];
  }

  path(name: string): string {
    if (!this.names.includes(name)) {
      throw new Error(`there is no model ${name}`);
    }
    return join(this.folder, `${name}.gguf`);
  }

  remove(): void {
    rmSync(this.folder, { recursive: true });
  }
}
