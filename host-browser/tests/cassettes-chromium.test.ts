/**
 * The cassettes in Chromium, where the browser stands between: its rules for other origins, and its own HTTP.
 */

import assert from "node:assert";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { type Browser, bundle, launch, PACKAGE } from "./browser.ts";
import { assertAgrees, read, TREE } from "./case.ts";
import { type Server, serve } from "./server.ts";
import type { Json } from "./steps.ts";
import { exchanges, SECRET, Upstream } from "./upstream.ts";

const FOLDER = join(TREE, "tests/cassettes");

/** What Chromium does by itself, below `fetch`. */
const BROWSERS_OWN: Readonly<Record<string, string>> = {
  "error-408": "Chromium asks again by itself after a 408 on a connection that was kept",
  "error-redirect": "a page does not learn the status of a redirect that is not followed",
  "retry-closed": "Chromium asks again by itself when a connection that was kept closes",
};

describe("cassettes in Chromium", () => {
  let server: Server;
  let browser: Browser;
  let page: Page;

  before(async () => {
    server = await serve({ "/page": await bundle("tests/cases-page.ts", "cassettes"), "/dist": join(PACKAGE, "dist") });
    browser = await launch();
    page = await browser.context.newPage();
    await page.goto(`${server.origin}/page/index.html`);
    await page.waitForFunction(() => window.runCase !== undefined);
  });
  after(async () => {
    await browser?.close();
    server?.close();
  });

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
    const run = { steps, standIn: false, names: [], threading: "auto", upstream: { url: "http://localhost:1", secret: SECRET } };
    const told = JSON.parse(await page.evaluate(async (asked) => JSON.stringify(await window.runCase(JSON.parse(asked))), JSON.stringify(run))) as Json[];
    kept.forEach(([name], index) => {
      const line = JSON.stringify(told[index]);
      assert.ok(line.includes("invalid_request") && line.includes(`header \`${name}\` would not be sent`), line);
    });
    assert.ok(!JSON.stringify(told.at(-1)).includes("error"), JSON.stringify(told.at(-1)));
  });

  for (const provider of folders(FOLDER)) {
    for (const name of folders(join(FOLDER, provider))) {
      const folder = join(FOLDER, provider, name);
      const one = read(folder, `${provider}/${name}`);
      test(one.name, { skip: one.skip ?? BROWSERS_OWN[name] ?? false, timeout: 60_000 }, async () => {
        const tape = exchanges(readFileSync(join(folder, "exchange.http"), "utf8"));
        const upstream = await Upstream.start(tape, "whole", true);
        try {
          const run = { steps: one.steps, standIn: false, names: [], threading: "auto", upstream: { url: upstream.url, secret: SECRET } };
          const got = JSON.parse(await page.evaluate(async (asked) => JSON.stringify(await window.runCase(JSON.parse(asked))), JSON.stringify(run))) as Json[];
          assertAgrees(one, got, upstream.complaints());
          assert.deepEqual(upstream.complaints(), []);
        } finally {
          upstream.close();
        }
      });
    }
  }
});

function folders(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort();
}
