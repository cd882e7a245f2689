/**
 * What becomes of the headers that an adapter sets: they are sent, or it is told that they are not, and so is the caller.
 */

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { type Attempt, attempt, type Came } from "./attempt.ts";
import { type Browser, bundle, launch } from "./browser.ts";
import { type Server as Pages, serve } from "./server.ts";

/** What no host lets an adapter write. */
const HOSTS = ["Host", "connection", "keep-alive", "transfer-encoding", "upgrade", "http2-settings", "proxy-authorization", "Authorization", "cookie"];

/** What Chromium keeps to itself besides. */
const CHROMIUMS = ["accept-charset", "date", "origin", "referer", "te", "trailer", "via", "sec-fetch-mode", "expect", "User-Agent"];

describe("headers of an adapter", () => {
  let server: Server;
  let url: string;
  let got: IncomingHttpHeaders = {};

  before(async () => {
    server = createServer((request, response) => {
      response.setHeader("access-control-allow-origin", "*");
      response.setHeader("access-control-allow-headers", request.headers["access-control-request-headers"] ?? "");
      if (request.method === "POST") {
        got = request.headers;
      }
      request.resume().on("end", () => response.end());
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  after(() => {
    server.closeAllConnections();
    server.close();
  });

  for (const where of ["Node.js", "Chromium"]) {
    describe(`in ${where}`, () => {
      let attempted = attempt;
      let browser: Browser | undefined;
      let pages: Pages | undefined;

      before(async () => {
        if (where === "Chromium") {
          pages = await serve({ "": await bundle("tests/outbound-page.ts", "outbound") });
          browser = await launch();
          const page: Page = await browser.context.newPage();
          await page.goto(`${pages.origin}/index.html`);
          await page.waitForFunction(() => window.attempt !== undefined);
          attempted = (asked: Attempt): Promise<Came> => page.evaluate((asked) => window.attempt(asked), asked);
        }
      });
      after(async () => {
        await browser?.close();
        pages?.close();
      });

      const send = (headers: Attempt["headers"], more: Partial<Attempt> = {}): Promise<Came> => {
        got = {};
        return attempted({ url, headers, body: "body", ...more });
      };

      test("one that is not sent is refused by name, and nothing is sent", async () => {
        for (const name of [...HOSTS, ...(where === "Chromium" ? CHROMIUMS : ["expect"])]) {
          const came = await send([["x-other", "1"], [name, "1"]]);
          assert.ok("kind" in came, name);
          assert.deepEqual([came.kind, came.told], ["invalid-request", { tag: "forbidden" }], name);
          assert.match(came.message, new RegExp(`^the adapter's header \`${name}\` (is the host's to write|would not be sent: )`));
          assert.deepEqual(got, {}, name);
        }
      });

      test("the one of the credential is the host's", async () => {
        const came = await send([["X-Key", "mine"]], { credential: "x-key" });
        assert.deepEqual(came, { kind: "invalid-request", message: "the adapter's header `X-Key` is the host's to write", told: { tag: "forbidden" } });
        assert.deepEqual(await send([["x-other", "1"]], { credential: "x-key" }), { status: 200 });
        assert.deepEqual([got["x-key"], got["x-other"]], ["secret", "1"]);
      });

      test("the others are sent as they are", async () => {
        const headers = [["X-Name", "caf\u00e9"], ["x-twice", "a"], ["x-twice", "b"], ["accept", "text/event-stream"]] as const;
        assert.deepEqual(await send(headers), { status: 200 });
        const { "x-name": name, "x-twice": twice, accept } = got;
        assert.deepEqual([name, twice, accept], [Buffer.from("caf\u00e9").toString("latin1"), "a, b", "text/event-stream"]);
        if (where === "Node.js") {
          assert.deepEqual(await send([["User-Agent", "adapter"]]), { status: 200 });
          assert.equal(got["user-agent"], "adapter");
        }
      });

      test("a length that is the body's is no harm, another one is refused", async () => {
        assert.deepEqual(await send([["Content-Length", "4"]]), { status: 200 });
        assert.equal(got["content-length"], "4");
        for (const wrong of ["3", "5", "four"]) {
          const came = await send([["content-length", wrong]]);
          const message = `the adapter's header \`content-length\` says ${wrong}, and its body has 4 bytes`;
          assert.deepEqual(came, { kind: "invalid-request", message, told: { tag: "HTTP-request-denied" } });
        }
      });

      test("what is no header is told as such", async () => {
        for (const [name, value] of [["no name", "1"], ["x-lines", "a\r\nb"], ["", "1"], ["x-zero", "\0"]] as const) {
          const came = await send([[name, value]]);
          assert.ok("told" in came);
          assert.deepEqual(came.told, { tag: "invalid-syntax" });
        }
      });
    });
  }
});
