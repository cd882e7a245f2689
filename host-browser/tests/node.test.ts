/**
 * The cases in Node.js: the same client, components and engine as in a page.
 */

import assert from "node:assert";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { cases, ONE_THREAD, TREE } from "./case.ts";
import { Models, NAMES } from "./models.ts";
import { SippClient } from "./published.ts";
import { openStandIn } from "./stand-in.ts";
import { difference, transcribe } from "./steps.ts";

const models = new Models(join(TREE, "models/demo.gguf"));
const names = NAMES.map((name) => [models.path(name), name] as const);

after(() => models.remove());

for (const flavour of ["single", "threads"] as const) {
  describe(`cases in Node.js, ${flavour}`, () => {
    for (const one of cases()) {
      // Rules need no engine, and so no second flavour of one.
      const unthreaded = flavour === "single" ? ONE_THREAD[one.name] : undefined;
      const why = one.skip ?? unthreaded ?? (one.standIn && flavour === "threads" ? "rules need no engine" : false);
      test(one.name, { skip: why, timeout: 120_000 }, async () => {
        const client = new SippClient({ wasmThreading: flavour, threads: 2 }, one.standIn ? openStandIn : undefined);
        const stage = { client, standIn: one.standIn, names, source: (name: string) => models.path(name) };
        const got = await transcribe(stage, one.steps);
        one.expected.forEach((expected, line) => {
          const place = difference(expected, got[line]);
          assert.equal(place, undefined, `${one.title}; line ${line + 1}, at ${place}\n- ${JSON.stringify(expected)}\n+ ${JSON.stringify(got[line])}`);
        });
        assert.equal(got.length, one.expected.length);
      });
    }
  });
}
