/**
 * The cassettes in Node.js: what is said between Sipp and the providers, through the same adapters, over `fetch`.
 *
 * A cassette is replayed as it was recorded, and again with every byte in a write of its own; some are cut in two besides.
 */

import assert from "node:assert";
import { describe, test } from "node:test";

import { assertAgrees, type Case } from "./case.ts";
import { cassettes } from "./cassettes.ts";
import { SippClient } from "./published.ts";
import { transcribe } from "./steps.ts";
import { type Exchange, type Pace, SECRET, Upstream } from "./upstream.ts";

/** Between two cuts of a reply: the native runner cuts everywhere, and the adapters are the same bytes. */
const STRIDE = 31;

for (const [provider, all] of cassettes()) {
  describe(`cassettes of ${provider} in Node.js`, { concurrency: 8 }, () => {
    for (const { one, tape } of all) {
      test(one.name, { skip: one.skip ?? false, timeout: 60_000 }, () => replay(one, tape, "whole"));
      // Where it waits between two attempts, bytes make no difference.
      if (tape.length === 1) {
        test(`${one.name}, byte by byte`, { skip: one.skip ?? false, timeout: 60_000 }, () => replay(one, tape, "bytes"));
      }
      if (one.cutEverywhere) {
        test(`${one.name}, cut at many places`, { timeout: 120_000 }, async () => {
          const longest = Math.max(...tape.map(({ reply }) => reply.length));
          for (let cut = 1; cut < longest; cut += STRIDE) {
            await replay(one, tape, { cut });
          }
        });
      }
    }
  });
}

async function replay(one: Case, tape: readonly Exchange[], pace: Pace): Promise<void> {
  const upstream = await Upstream.start(tape, pace);
  try {
    const client = new SippClient();
    const stage = { client, standIn: false, names: [], source: (name: string) => name, upstream: upstream.url, secret: SECRET };
    const got = await transcribe(stage, one.steps);
    assertAgrees(one, got, upstream.complaints());
    assert.deepEqual(upstream.complaints(), []);
    assert.ok(!JSON.stringify(got).includes(SECRET), "the transcript shows the credential");
  } finally {
    upstream.close();
  }
}
