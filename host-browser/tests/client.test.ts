/**
 * What a client does beyond the cases: signals, closing, and many requests at once, on the demo model in Node.js.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";

import { TREE } from "./case.ts";
import type { LocalDescriptor, SippClient as Client, SippError as Failure } from "../src/index.ts";
import { choose } from "../src/local.ts";
import { SippClient, SippError } from "./published.ts";

const source = join(TREE, "models/demo.gguf");
const STORY = [{ role: "user", content: "Tell me a short story about a cat." }] as const;
/** A request that does not end by itself before its context does. */
const ENDLESS = { endpoint: { kind: "local", id: "demo" }, local: { sampling: { ignoreEos: true } }, temperature: 0 } as const;

async function opened(options: Partial<LocalDescriptor> = {}): Promise<Client> {
  const client = new SippClient({ wasmThreading: "single" });
  await client.add("demo", { kind: "local", source, ...options });
  return client;
}

function cancelled(error: unknown): error is Failure {
  return error instanceof SippError && error.kind === "cancelled";
}

describe("a client in Node.js", () => {
  test("a signal that is aborted already ends the call with its reason", async () => {
    await using client = await opened();
    const reason = new Error("not any more");
    const run = client.chat(STORY, { ...ENDLESS, signal: AbortSignal.abort(reason) });
    await assert.rejects(run.response, (error) => cancelled(error) && error.cause === reason);
    const embedding = client.embed("text", { signal: AbortSignal.abort() });
    await assert.rejects(embedding.response, (error) => cancelled(error) && (error.cause as Error).name === "AbortError");
  });

  test("a signal that is aborted later keeps what was written", async () => {
    await using client = await opened();
    const controller = new AbortController();
    const run = client.chat(STORY, { ...ENDLESS, signal: controller.signal });
    for await (const batch of run.tokens) {
      if (batch.tokens > 0) {
        controller.abort();
      }
    }
    const { text, finishReason, cancelled: reason } = await run.response;
    assert.deepEqual([finishReason, reason], ["cancelled", "caller-cancelled"]);
    assert.ok(text.length > 0);
  });

  test("closing cancels what runs", async () => {
    const client = await opened();
    const run = client.chat(STORY, ENDLESS);
    const waiting = client.chat(STORY, ENDLESS);
    for await (const batch of run.tokens) {
      if (batch.tokens > 0) {
        await client.close();
      }
    }
    assert.equal((await run.response).finishReason, "cancelled");
    const outcome = await waiting.response.then(
      (response) => response.finishReason,
      (error: unknown) => (cancelled(error) ? "cancelled" : error),
    );
    assert.equal(outcome, "cancelled");
    await assert.rejects(client.query("hi").response, (error) => error instanceof SippError && error.kind === "closed");
  });

  test("many requests at once are answered as alone, and share their beginning", async () => {
    await using client = await opened({ context: { nParallel: 4 }, cache: { mode: "live-slot-and-snapshot", maxSnapshotBytes: 1 << 24 } });
    const ask = (question: string) =>
      client.chat(
        [
          { role: "system", content: "You answer in one short sentence. You are polite. You never speak of yourself." },
          { role: "user", content: question },
        ],
        { endpoint: { kind: "local", id: "demo" }, temperature: 0 },
      ).response;
    const questions = ["Hello", "Who are you?", "What colour is a lemon?", "Say hello in Chinese.", "Hello"];
    const together = await Promise.all(questions.map(ask));
    const reused = together.filter(({ usage, stats }) => (usage?.cachedTokens ?? 0) > 20 && stats?.cacheSource !== "none");
    assert.equal(reused.length, questions.length - 1);
    for (const [index, question] of questions.entries()) {
      assert.equal(together[index]?.text, (await ask(question)).text);
    }
  });

  test("a full queue refuses", async () => {
    await using client = await opened({ scheduler: { maxQueuedRequests: 1 } });
    const runs = [client.chat(STORY, ENDLESS), client.chat(STORY, ENDLESS)];
    await runs[0]?.tokens[Symbol.asyncIterator]().next();
    await assert.rejects(
      client.chat(STORY, ENDLESS).response,
      (error) => error instanceof SippError && error.kind === "overloaded" && error.message.includes("max_queued_requests"),
    );
    runs.forEach((run) => run.cancel());
    await Promise.allSettled(runs.map((run) => run.response));
  });

  test("headers that would not be sent are refused, the others are sent", async () => {
    let got: IncomingHttpHeaders = {};
    const server = createServer((request, response) => {
      got = request.headers;
      response.writeHead(400).end();
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      await using client = new SippClient();
      const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      const shared = { kind: "gateway", target: "demo", baseUrl, retries: 0 } as const;
      for (const name of ["Host", "connection", "content-length", "Expect", "keep-alive", "transfer-encoding", "upgrade"]) {
        await assert.rejects(
          client.add("away", { ...shared, headers: { [name]: "1" } }),
          (error) => error instanceof SippError && error.kind === "invalid-request" && error.message.includes(`\`${name}\` would not be sent`),
        );
      }
      const outside = client.add("away", { ...shared, headers: { "x-name": "\u0142" } });
      await assert.rejects(outside, (error) => error instanceof SippError && error.kind === "invalid-request" && error.message.includes("Latin-1"));
      const headers = { "User-Agent": "app", cookie: "a=b", "x-name": "caf\u00e9" };
      const endpoint = await client.add("away", { ...shared, headers });
      await assert.rejects(client.query("hi", { endpoint }).response, (error) => error instanceof SippError && error.kind === "upstream");
      assert.deepEqual([got["user-agent"], got.cookie, got["x-name"]], ["app", "a=b", "caf\u00e9"]);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test("64-bit memory is for models that 32-bit memory cannot hold, or whoever asks for it", () => {
    const flavour = (bytes: number, wasmMemory: "auto" | "memory32" | "memory64" = "auto", wasmThreading: "auto" | "single" = "auto"): string =>
      choose({ wasmThreading, wasmMemory, threads: 2 }, {}, bytes).flavour;
    const most = 3 * 2 ** 30;
    assert.deepEqual([flavour(most), flavour(most + 1), flavour(most + 1, "memory32"), flavour(1, "memory64")], ["threads", "memory64", "threads", "memory64"]);
    assert.throws(() => flavour(most + 1, "auto", "single"), (error) => (error as Failure).kind === "invalid-request");
  });

  test("where promises cannot be waited for, the error names what is missing", () => {
    const script = `
      delete WebAssembly.Suspending;
      const { SippClient } = await import(${JSON.stringify(new URL("../dist/index.js", import.meta.url).href)});
      await new SippClient().list().catch(({ kind, message }) => console.log(JSON.stringify({ kind, message })));
    `;
    const told = JSON.parse(execFileSync(process.execPath, ["--input-type=module", "--eval", script], { encoding: "utf8" }));
    assert.equal(told.kind, "jspi-missing");
    assert.match(told.message, /Chrome and Edge have it from 137/);
  });
});
