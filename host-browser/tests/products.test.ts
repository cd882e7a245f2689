/** Products of matrices on WebAssembly, compared with plain loops by the program `engine-sys/tests/wasm`. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, test } from "node:test";

import { PACKAGE } from "./browser.ts";

/** What floats of 32 bits and sums in another order may differ by, as a part of the sum of the terms' sizes. */
const CLOSE = 1e-6;

/** What the program says of products with one kind of weights. */
interface Said {
  readonly type: string;
  readonly threads: number;
  readonly products: number;
  readonly error: number;
}

describe("products of matrices", () => {
  for (const flavour of ["single", "threads", "memory64"]) {
    test(`are those of plain loops, ${flavour}`, { timeout: 300_000 }, () => {
      const program = join(PACKAGE, "../target/browser/tests", flavour, "products.js");
      const lines = String(execFileSync(process.execPath, [program])).trim().split("\n");
      const said = lines.map((line) => JSON.parse(line) as Said);
      assert.equal(said.length, (flavour === "single" ? 1 : 2) * 17);
      assert.deepEqual(said.filter(({ error, products }) => products === 0 || !(error < CLOSE)), []);
    });
  }
});
