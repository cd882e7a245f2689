/**
 * The cases in Node.js: the same client, components and engine as in a page.
 */

import { after, describe, test } from "node:test";

import { assertAgrees, cases, ONE_THREAD } from "./case.ts";
import { Models } from "./models.ts";
import { SippClient } from "./published.ts";
import { openStandIn } from "./stand-in.ts";
import { transcribe } from "./steps.ts";

const models = new Models();
const names = models.names.map((name) => [models.path(name), name] as const);

after(() => models.remove());

for (const flavour of ["single", "threads", "memory64"] as const) {
  describe(`cases in Node.js, ${flavour}`, () => {
    for (const one of cases()) {
      // Rules need no engine, and so no second flavour of one.
      const unthreaded = flavour === "single" ? ONE_THREAD[one.name] : undefined;
      const why = one.skip ?? unthreaded ?? (one.standIn && flavour !== "single" ? "rules need no engine" : false);
      test(one.name, { skip: why, timeout: 120_000 }, async () => {
        const build = flavour === "memory64" ? ({ wasmMemory: flavour } as const) : ({ wasmThreading: flavour } as const);
        const client = new SippClient({ ...build, threads: 2 }, one.standIn ? openStandIn : undefined);
        const stage = { client, standIn: one.standIn, names, source: (name: string) => models.path(name) };
        const got = await transcribe(stage, one.steps);
        assertAgrees(one, got);
      });
    }
  });
}
