/**
 * The cases in Chromium: models come over HTTP into the origin's private file system, the engine runs in a worker.
 */

import assert from "node:assert";
import { after, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { assertAgrees, cases, ONE_THREAD } from "./case.ts";
import { type CasesPage, openCases } from "./cases-browser.ts";
import { Models } from "./models.ts";

for (const [threading, isolated] of [["auto", true], ["single", false]] as const) {
  describe(`cases in Chromium, ${isolated ? "threads" : "single"}`, () => {
    const models = new Models();
    let opened: CasesPage;

    before(async () => {
      opened = await openCases("cases", { "/models": models.folder }, isolated);
    });
    after(async () => {
      await opened?.close();
      models.remove();
    });

    test("the page is isolated as its server says", async () => {
      assert.equal(await opened.page.evaluate(() => crossOriginIsolated), isolated);
    });

    test("threads that a page cannot have are refused", { skip: isolated ? "it has them" : false }, async () => {
      const steps = [{ add: { id: "a", descriptor: { kind: "local", model: "demo" } } }];
      const told = await opened.run({ steps, standIn: false, names: models.names, threading: "threads" });
      assert.match(JSON.stringify(told), /"kind":"threads.unavailable"/);
    });

    test("64-bit memory answers as 32-bit memory does, or is refused without threads", { timeout: 120_000 }, async () => {
      const told = await opened.page.evaluate(async () => {
        const texts: string[] = [];
        for (const wasmMemory of ["memory32", "memory64"] as const) {
          const client = new window.SippClient({ wasmMemory, threads: 2 });
          try {
            await client.add("demo", { kind: "local", source: "/models/demo.gguf" });
            texts.push((await client.chat([{ role: "user", content: "Hello" }], { temperature: 0 }).response).text);
          } catch (error) {
            texts.push((error as { kind: string }).kind);
          }
          await client.close();
        }
        return texts;
      });
      const [narrow, wide] = told;
      assert.equal(narrow, "Hello! How can I help you?");
      assert.equal(wide, isolated ? narrow : "threads-unavailable");
    });

    test("what was begun for a model that is refused is given back", { timeout: 120_000 }, async () => {
      const { page } = opened;
      const told = await page.evaluate(async (wasmThreading) => {
        const source = "/models/demo.gguf";
        await using before = new window.SippClient({ wasmThreading, threads: 2 });
        await before.remove(await before.add("demo", { kind: "local", source }));
        const client = new window.SippClient({ wasmThreading, threads: 2 });
        const refused = await client.add(" demo", { kind: "local", source }).catch((error) => error as { kind: string });
        Object.assign(window, { refusing: client });
        return "kind" in refused && refused.kind;
      }, threading);
      assert.equal(told, "invalid-request");
      assert.equal(await workersLeft(page, "/engine/"), 0);
      const left = await page.evaluate(async () => {
        const { refusing: client } = window as unknown as { refusing: import("../src/index.ts").SippClient };
        const models = await client.listLocal();
        // What is in use is not deleted. It may have been found just now.
        for (let tries = 0; (await client.listLocal()).length > 0 && tries < 50; tries += 1) {
          await Promise.all(models.map(({ id }) => client.removeLocal(id))).catch(() => undefined);
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
        const left = await client.listLocal();
        await client.close();
        return [models.length, left.length];
      });
      assert.deepEqual(left, [1, 0]);
    });

    test("closing ends what was begun for a model that is being added", { timeout: 120_000 }, async () => {
      const told = await opened.page.evaluate(async (wasmThreading) => {
        const kinds: string[] = [];
        for (const id of ["first", "second"]) {
          const client = new window.SippClient({ wasmThreading, threads: 2 });
          if (id === "second") {
            // Its component is there already.
            await client.list();
          }
          const added = client.add(id, { kind: "local", source: "/models/demo.gguf" });
          const failed = added.then(() => ({ kind: "none" }), (error) => error as { kind: string });
          await client.close();
          kinds.push((await failed).kind);
        }
        return kinds;
      }, threading);
      assert.deepEqual(told, ["closed", "closed"]);
      assert.equal(await workersLeft(opened.page, ""), 0);
    });

    test("signals and closing end what runs, with a reason", { timeout: 120_000 }, async () => {
      const told = await opened.page.evaluate(async (wasmThreading) => {
        const client = new window.SippClient({ wasmThreading, threads: 2 });
        const endpoint = await client.add("demo", { kind: "local", source: "/models/demo.gguf" });
        const endless = { endpoint, local: { sampling: { ignoreEos: true } }, temperature: 0 } as const;
        const ask = (signal?: AbortSignal) => client.query("Once", { ...endless, ...(signal === undefined ? {} : { signal }) });
        const early: unknown = await ask(AbortSignal.abort("not any more")).response.catch((error: unknown) => error);
        const timeout: unknown = await client.embed("text", { signal: AbortSignal.abort(new DOMException("late", "TimeoutError")) }).response.catch((error: unknown) => error);
        const controller = new AbortController();
        const later = ask(controller.signal);
        for await (const { tokens } of later.tokens) {
          if (tokens > 0) {
            controller.abort();
          }
        }
        const [first, second] = [ask(), ask()];
        for await (const { tokens } of first.tokens) {
          if (tokens > 0) {
            await client.close();
          }
        }
        const ending = (run: typeof first) => run.response.then(({ finishReason }) => finishReason, (error: { kind: string }) => error.kind);
        const fail = (error: unknown) => {
          const { kind, cause } = error as { kind: string; cause: unknown };
          return [kind, cause instanceof DOMException ? cause.name : cause];
        };
        return [fail(early), fail(timeout), [await ending(later), await ending(first), await ending(second), await ending(client.query("hi"))]];
      }, threading);
      assert.deepEqual(told, [
        ["cancelled", "not any more"],
        ["cancelled", "TimeoutError"],
        ["cancelled", "cancelled", "cancelled", "closed"],
      ]);
    });

    for (const one of cases()) {
      const skip = one.skip ?? (isolated ? undefined : one.standIn ? "rules need no engine" : ONE_THREAD[one.name]);
      test(one.name, { skip: skip ?? false, timeout: 120_000 }, async () => {
        const got = await opened.run({ steps: one.steps, standIn: one.standIn, names: models.names, threading });
        assertAgrees(one, got);
      });
    }
  });
}

/** How many workers with such an address are left once they had time to end. */
async function workersLeft(page: Page, address: string): Promise<number> {
  const left = (): number => page.workers().filter((worker) => worker.url().includes(address)).length;
  for (let tries = 0; left() > 0 && tries < 100; tries += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return left();
}
