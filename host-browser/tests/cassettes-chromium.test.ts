/**
 * The cassettes in Chromium, where the browser stands between: its rules for other origins, and its own HTTP.
 */

import assert from "node:assert";
import { after, before, describe, test } from "node:test";

import { assertAgrees } from "./case.ts";
import { type CasesPage, openCases } from "./cases-browser.ts";
import { cassettes } from "./cassettes.ts";
import { SECRET, Upstream } from "./upstream.ts";

/** What Chromium does by itself, below `fetch`. */
const BROWSERS_OWN: Readonly<Record<string, string>> = {
  "error-408": "Chromium asks again by itself after a 408 on a connection that was kept",
  "error-redirect": "a page does not learn the status of a redirect that is not followed",
  "retry-closed": "Chromium asks again by itself when a connection that was kept closes",
};

describe("cassettes in Chromium", () => {
  let page: CasesPage;

  before(async () => {
    page = await openCases("cassettes");
  });
  after(() => page?.close());

  test("headers that a browser keeps to itself are refused by name", async () => {
    const shared = { kind: "provider", provider: "openai_compatible", model: "m", authentication: "none", base_url: "http://localhost:1/v1" };
    const kept = [
      ...["Cookie", "Origin", "referer", "Host", "date", "via", "Proxy-Any", "Sec-Any"].map((name) => [name, { ...shared, headers: [{ name, value: "1" }] }] as const),
      ["X-HTTP-Method", { ...shared, headers: [{ name: "X-HTTP-Method", value: "TRACE" }] }] as const,
      ["Sec-Trace", { ...shared, correlation_header: "Sec-Trace" }] as const,
      ["Cookie", { ...shared, authentication: { header: { name: "Cookie", value: 1 } } }] as const,
    ];
    const fine = { ...shared, headers: [{ name: "x-team", value: "blue" }, { name: "X-HTTP-Method", value: "GET" }] };
    const steps = [...kept.map(([, descriptor]) => descriptor), fine].map((descriptor) => ({ add: { id: "p", descriptor } }));
    const told = await page.run({ steps, standIn: false, names: [], threading: "auto", upstream: { url: "http://localhost:1", secret: SECRET } });
    kept.forEach(([name], index) => {
      const line = JSON.stringify(told[index]);
      assert.ok(line.includes("invalid_request") && line.includes(`header \`${name}\` would not be sent`), line);
    });
    assert.ok(!JSON.stringify(told.at(-1)).includes("error"), JSON.stringify(told.at(-1)));
  });

  for (const { folder, one, tape } of [...cassettes().values()].flat()) {
    test(one.name, { skip: one.skip ?? BROWSERS_OWN[folder] ?? false, timeout: 60_000 }, async () => {
      const upstream = await Upstream.start(tape, "whole", true);
      try {
        const got = await page.run({ steps: one.steps, standIn: false, names: [], threading: "auto", upstream: { url: upstream.url, secret: SECRET } });
        assertAgrees(one, got, upstream.complaints());
        assert.deepEqual(upstream.complaints(), []);
      } finally {
        upstream.close();
      }
    });
  }
});
