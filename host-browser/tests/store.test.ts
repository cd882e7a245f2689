/**
 * The store in Chromium: models that come whole, and everything that can go wrong on their way.
 */

import assert from "node:assert";
import { createHash } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { clocked, INSECURE, KillableBrowser, pages } from "./store-browser.ts";
import type { Attempt } from "./store-page.ts";
import { gguf, type Served, StoreServer } from "./store-server.ts";

type Model = Attempt<import("../src/store/store.ts").InstalledModel>;

const MB = 1 << 20;
const SMALL = gguf(3 * MB + 5, 1);
const LARGE = gguf(48 * MB, 2);

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

describe("store", () => {
  let scripts: Awaited<ReturnType<typeof pages>>;
  let browser: KillableBrowser;
  /** Serves the page, and files. */
  let server: StoreServer;
  /** Another origin. */
  let elsewhere: StoreServer;
  let page: Page;
  let count = 0;

  before(async () => {
    scripts = await pages();
    elsewhere = await StoreServer.start();
    browser = await KillableBrowser.start();
    await fresh();
  });
  after(async () => {
    await browser?.close();
    server?.close();
    elsewhere?.close();
  });
  afterEach(async () => {
    // Each scenario has an origin, and so a store, of its own.
    await page.close().catch(() => undefined);
    server.close();
    elsewhere.files.clear();
    elsewhere.forget();
    await fresh();
  });

  async function fresh(own = scripts): Promise<void> {
    server = await StoreServer.start(own);
    page = await browser.page(server.origin);
  }

  /** Starts anew with a worker whose clock can be set. Returns what sets it; the worker that comes next has it. */
  async function freshWithClock(): Promise<(ahead: number, shorter: number) => void> {
    const [path, own] = ["/store/worker.js", new Map(scripts)];
    await page.close();
    server.close();
    await fresh(own);
    const worker = own.get(path) ?? assert.fail(`there is no ${path}`);
    return (ahead, shorter) => void own.set(path, clocked(worker, ahead, shorter));
  }

  /** Starts Chromium again with what it had stored. */
  async function killed(): Promise<void> {
    await browser.kill();
    browser = await KillableBrowser.start(browser.profile);
    page = await browser.page(server.origin);
  }

  /** Serves a file under a new name, so that no two scenarios share one. */
  function serve(served: Partial<Served> = {}, on = server, name = "model.gguf"): string {
    count += 1;
    const path = `/${count}/${name}`;
    on.files.set(path, { bytes: SMALL, ...served });
    return `${on.origin}${path}`;
  }

  const obtain = (url: string | string[], hash?: string | string[]): Promise<Model> => page.evaluate(([source, sha]) => window.stage.obtain(source ?? "", sha), [url, hash] as const);
  const list = async (): Promise<readonly { id: string; name: string; bytes: number }[]> => await page.evaluate(() => window.stage.list());

  /** What came is what was served. */
  async function intact(model: Model, ...bodies: Uint8Array[]): Promise<void> {
    assert.equal(model.error, undefined);
    assert.ok(model.value !== undefined);
    assert.equal(model.value.bytes, bodies.reduce((sum, { length }) => sum + length, 0));
    assert.deepEqual(await page.evaluate((one) => window.stage.hashes(one), model.value), bodies.map(sha256));
    assert.ok((await list()).some(({ id }) => id === model.value?.id), "the model is listed");
  }

  /** It failed so, and nothing is left. */
  async function failed(model: Attempt<unknown>, kind: string, keeps = false): Promise<NonNullable<Attempt<unknown>["error"]>> {
    assert.ok(model.error !== undefined, `an error of kind ${kind}`);
    assert.equal(model.error.kind, kind, model.error.message);
    assert.deepEqual(await list(), []);
    if (!keeps) {
      assert.ok((await page.evaluate(() => window.stage.stored())) < 1000, "nothing is left of it");
    }
    return model.error;
  }

  /** Waits until so many bytes came, and returns how many that are. */
  async function until(bytes: number, on = page): Promise<number> {
    await on.waitForFunction((least) => (window.stage.seen.at(-1)?.loadedBytes ?? 0) >= least, bytes, { polling: 20, timeout: 30_000 });
    return await on.evaluate(() => window.stage.seen.at(-1)?.loadedBytes ?? 0);
  }

  /** Begins without waiting for the end. */
  async function begin(url: string, on = page): Promise<void> {
    await on.evaluate((source) => {
      (window as unknown as { begun: unknown }).begun = window.stage.obtain(source);
    }, url);
  }
  const begun = (on = page): Promise<Model> => on.evaluate(async () => (await (window as unknown as { begun: Promise<Model> }).begun) as Model);

  test("a download is found again after a reload", async () => {
    const url = serve({ bytes: LARGE });
    await intact(await obtain(url), LARGE);
    assert.equal(server.sent(), LARGE.length, "every byte is sent once");
    await page.reload();
    await page.waitForFunction(() => window.stage !== undefined);
    server.forget();
    await intact(await obtain(url), LARGE);
    assert.equal(server.sent(), 0);
  });

  test("several connections bring one file", async () => {
    const url = serve({ bytes: LARGE, rate: 40 * MB });
    await intact(await obtain(url), LARGE);
    assert.ok(server.asked.filter(({ sent }) => sent > MB).length >= 4);
  });

  test("progress is told in phases, and not too often", async () => {
    const url = serve({ bytes: LARGE, rate: 6 * MB });
    const from = Date.now();
    await intact(await obtain(url, sha256(LARGE)), LARGE);
    const told = await page.evaluate(() => window.stage.seen);
    assert.equal(told[0]?.phase, "metadata");
    const download = told.filter(({ phase }) => phase === "download");
    assert.ok(download.length >= 5 && download.length <= (Date.now() - from) / 100 + 20, `${download.length} reports`);
    assert.equal(download.at(-1)?.loadedBytes, LARGE.length);
    assert.equal(download.at(-1)?.percent, 100);
    assert.ok(download.every(({ loadedBytes }, index) => loadedBytes >= (download[index - 1]?.loadedBytes ?? 0)));
  });

  test("with its hash a model is found without the network", async () => {
    const url = serve();
    await intact(await obtain(url, sha256(SMALL)), SMALL);
    server.forget();
    await intact(await obtain(url, sha256(SMALL).toUpperCase()), SMALL);
    assert.equal(server.asked.length, 0);
  });

  test("with its hash a model from another address is found without the network", async () => {
    await intact(await obtain(serve()), SMALL);
    server.forget();
    await intact(await obtain(serve(), sha256(SMALL)), SMALL);
    assert.equal(server.asked.length, 0);
  });

  test("without its hash the server is asked whether it changed, and the new file comes", async () => {
    const url = serve();
    await intact(await obtain(url), SMALL);
    const changed = gguf(2 * MB, 3);
    server.files.set(new URL(url).pathname, { bytes: changed, etag: '"second"' });
    await intact(await obtain(url), changed);
  });

  test("who is offline uses the installed model", async () => {
    const url = serve({}, elsewhere);
    await intact(await obtain(url), SMALL);
    await browser.context.setOffline(true);
    try {
      await intact(await obtain(url), SMALL);
    } finally {
      await browser.context.setOffline(false);
    }
  });

  test("the browser is killed during a download; only what is missing is brought", async () => {
    const url = serve({ bytes: LARGE, rate: 2 * MB });
    await begin(url);
    const came = await until(24 * MB);
    await killed();
    assert.deepEqual(await list(), [], "half a model is none");
    server.forget();
    server.files.set(new URL(url).pathname, { bytes: LARGE });
    await intact(await obtain(url), LARGE);
    // What four connections bring in the second between two notes, twice over.
    const most = LARGE.length - came + 16 * MB;
    assert.ok(server.sent() <= most, `${server.sent()} bytes are sent again, ${most} at most are missing`);
  });

  test("a page is closed during a download; the next one goes on", async () => {
    const url = serve({ bytes: LARGE, rate: 2 * MB });
    await begin(url);
    const came = await until(24 * MB);
    await page.close();
    server.forget();
    server.files.set(new URL(url).pathname, { bytes: LARGE });
    page = await browser.page(server.origin);
    await intact(await obtain(url), LARGE);
    assert.ok(server.sent() <= LARGE.length - came + 16 * MB, `${server.sent()} bytes are sent again`);
  });

  test("an aborted download is an error of its own, and goes on later with no byte asked twice", async () => {
    const url = serve({ bytes: LARGE, rate: 2 * MB });
    await begin(url);
    await until(16 * MB);
    await page.evaluate(() => window.stage.abort());
    await failed(await begun(), "aborted", true);
    const before = server.sent();
    server.files.set(new URL(url).pathname, { bytes: LARGE });
    server.forget();
    await intact(await obtain(url), LARGE);
    // What was on the wire when it was aborted came to nobody.
    assert.ok(server.sent() + before <= LARGE.length + 8 * MB, `${server.sent()} and ${before} of ${LARGE.length}`);
  });

  test("the browser is killed ten times while models are installed; what is listed is whole", async () => {
    const sizes = Array.from({ length: 12 }, (_, index) => 200_000 + index * 50_000);
    const bodies = sizes.map((size, index) => gguf(size, 100 + index));
    const urls = bodies.map((bytes) => serve({ bytes }));
    let most = 0;
    for (let round = 0; round < 10; round += 1) {
      await page.evaluate((all) => {
        void (async () => {
          for (;;) {
            for (const url of all) {
              const { value } = await window.stage.obtain(url);
              if (value !== undefined && Math.random() < 0.5) {
                await window.stage.remove(value.id);
              }
            }
          }
        })();
      }, urls);
      await new Promise((resolve) => setTimeout(resolve, 100 + Math.random() * 400));
      await killed();
      const models = await page.evaluate(() => window.stage.list());
      most = Math.max(most, models.length);
      for (const model of models) {
        const [hash] = await page.evaluate((one) => window.stage.hashes(one), model);
        assert.ok(bodies.some((bytes) => bytes.length === model.bytes && sha256(bytes) === hash), `${model.name} is whole, round ${round}`);
      }
    }
    assert.ok(most > 0, "something was installed");
    for (const model of await page.evaluate(() => window.stage.list())) {
      await page.evaluate((id) => window.stage.remove(id), model.id);
    }
    await page.reload();
    await page.waitForFunction(() => window.stage !== undefined);
    await list();
    // Unfinished downloads may be there to go on with; of installed ones nothing may.
    for (const url of urls) {
      const { value } = await obtain(url);
      await page.evaluate((id) => window.stage.remove(id), value?.id ?? "");
    }
    assert.ok((await page.evaluate(() => window.stage.stored())) < 5000, "no bytes of nobody");
  });

  test("a byte that changed on the way is found by the hash", async () => {
    const damaged = Uint8Array.from(LARGE);
    damaged[30 * MB] = (damaged[30 * MB] ?? 0) ^ 1;
    const url = serve({ bytes: damaged });
    await failed(await obtain(url, sha256(LARGE)), "hash-mismatch");
    server.files.set(new URL(url).pathname, { bytes: LARGE });
    await intact(await obtain(url, sha256(LARGE)), LARGE);
  });

  test("a byte that changed in the store is found when it is verified", async () => {
    const url = serve();
    const { value } = await obtain(url);
    assert.ok(value !== undefined);
    assert.equal((await page.evaluate((id) => window.stage.verify(id), value.id)).error, undefined);
    await page.evaluate((model) => window.stage.damage(model, 2_000_000), value);
    const { error } = await page.evaluate((id) => window.stage.verify(id), value.id);
    assert.equal(error?.kind, "storage-corrupt");
  });

  test("a quota that is too small is told with figures, before anything is loaded", async () => {
    const url = serve({ bytes: LARGE });
    const session = await browser.context.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: 20 * MB });
    const error = await failed(await obtain(url), "storage-quota-exceeded");
    assert.equal(error.details.storage?.needed, LARGE.length);
    assert.ok((error.details.storage?.available ?? Number.NaN) <= 20 * MB);
    assert.equal(server.sent(), 0);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin });
    await intact(await obtain(url), LARGE);
  });

  test("a quota that is reached while it is written is told too, and nothing stays", async () => {
    const url = serve({ bytes: LARGE, length: false, ranges: false });
    const session = await browser.context.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: 20 * MB });
    const error = await failed(await obtain(url), "storage-quota-exceeded");
    assert.ok((error.details.storage?.needed ?? 0) > 10 * MB);
    assert.ok((error.details.storage?.available ?? Number.NaN) <= 20 * MB);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin });
  });

  test("a quota that a file of this machine does not fit into is told, before it is copied and while it is", async () => {
    const from = serve({ bytes: LARGE });
    const session = await browser.context.newCDPSession(page);
    const copied = (): Promise<Model> => page.evaluate((from) => window.stage.obtainFiles([{ name: "own.gguf", from }]), from);
    // Into the second one it fits by what Chromium says, and not by the room that Chromium takes for it.
    for (const quotaSize of [20 * MB, 56 * MB]) {
      await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize });
      const error = await failed(await copied(), "storage-quota-exceeded");
      assert.equal(error.details.storage?.needed, LARGE.length);
      assert.ok((error.details.storage?.available ?? Number.NaN) < LARGE.length, JSON.stringify(error.details));
    }
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin });
    await intact(await copied(), LARGE);
  });

  test("a download that goes on needs room for the rest alone", async () => {
    const url = serve({ bytes: LARGE, rate: 4 * MB });
    await begin(url);
    await until(16 * MB);
    await page.evaluate(() => window.stage.abort());
    await begun();
    server.files.set(new URL(url).pathname, { bytes: LARGE });
    const session = await browser.context.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: 60 * MB });
    await intact(await obtain(url), LARGE);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin });
  });

  test("two tabs want the same model; it comes once", async () => {
    const url = serve({ bytes: LARGE, rate: 8 * MB });
    const other = await browser.page(server.origin);
    await begin(url);
    await begin(url, other);
    await until(4 * MB);
    await until(4 * MB, other);
    const [mine, theirs] = [await begun(), await begun(other)];
    await intact(mine, LARGE);
    assert.equal(theirs.value?.id, mine.value?.id);
    assert.equal(server.sent(), LARGE.length);
    await other.close();
  });

  test("the tab that brings a model dies; the one that waited takes over", async () => {
    const url = serve({ bytes: LARGE, rate: 2 * MB });
    const first = await browser.page(server.origin);
    await begin(url, first);
    const came = await until(20 * MB, first);
    await begin(url);
    await until(20 * MB);
    await first.close();
    server.files.set(new URL(url).pathname, { bytes: LARGE });
    const model = await begun();
    await intact(model, LARGE);
    assert.ok(server.sent() <= 2 * LARGE.length - came, `${server.sent()} bytes in all`);
  });

  test("two tabs share an installed model, and neither may delete it under the other", async () => {
    const { value } = await obtain(serve());
    assert.ok(value !== undefined);
    const other = await browser.page(server.origin);
    assert.equal((await other.evaluate((id) => window.stage.hold(id), value.id)).error, undefined);
    assert.equal((await page.evaluate((id) => window.stage.hold(id), value.id)).error, undefined);
    await page.evaluate(() => window.stage.release());
    const { error } = await page.evaluate((id) => window.stage.remove(id), value.id);
    assert.equal(error?.kind, "invalid-request");
    assert.equal((await list()).length, 1);
    // A tab that dies holds nothing.
    await other.close();
    // The browser takes a moment to notice.
    for (let tried = 0; (await page.evaluate((id) => window.stage.remove(id), value.id)).error !== undefined; tried += 1) {
      assert.ok(tried < 100, "the lock of a closed tab stays");
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    assert.deepEqual(await list(), []);
  });

  test("what was used longest ago goes first, and what is in use stays", async () => {
    const models: string[] = [];
    for (let index = 0; index < 4; index += 1) {
      const { value } = await obtain(serve({ bytes: gguf(4 * MB, 10 + index) }));
      models.push(value?.id ?? "");
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    // The first is used now, the second stays in use.
    await page.evaluate(async ([first, second]) => {
      await window.stage.hold(second ?? "");
      await window.stage.hold(first ?? "");
    }, models);
    const other = await browser.page(server.origin);
    const session = await browser.context.newCDPSession(page);
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin, quotaSize: 20 * MB });
    const evicted = await other.evaluate(() => window.stage.evict(4 * 1024 * 1024));
    assert.equal(evicted.error, undefined);
    assert.deepEqual(evicted.value?.map(({ id }) => id), [models[2]]);
    const all = await other.evaluate(() => window.stage.evict(100 * 1024 * 1024));
    assert.deepEqual(all.value?.map(({ id }) => id), [models[3]]);
    assert.deepEqual(new Set((await list()).map(({ id }) => id)), new Set([models[0], models[1]]));
    await session.send("Storage.overrideQuotaForOrigin", { origin: server.origin });
    await other.close();
  });

  test("404 is told as a model that is not there", async () => {
    const error = await failed(await obtain(`${server.origin}/nothing.gguf`), "model");
    assert.equal(error.details.fault, "not-found");
    assert.equal(error.details.status, 404);
  });

  test("403 is told with its status", async () => {
    const error = await failed(await obtain(serve({ status: 403 })), "remote-load-failed");
    assert.equal(error.details.status, 403);
  });

  test("a server that is overloaded for a moment is asked again", async () => {
    await intact(await obtain(serve({ status: 503, failures: 1 })), SMALL);
  });

  test("a server of another origin that allows nobody is told as such", async () => {
    const error = await failed(await obtain(serve({ cors: "none" }, elsewhere)), "remote-metadata-unavailable");
    assert.match(error.message, /origin/);
  });

  test("a server of another origin that shows no special header still sends pieces", async () => {
    const url = serve({ bytes: LARGE, cors: "bare", lastModified: "Thu, 26 Nov 2026 10:00:00 GMT" }, elsewhere);
    await intact(await obtain(url), LARGE);
    assert.ok(elsewhere.asked.filter(({ sent }) => sent > MB).length >= 4);
    assert.ok(elsewhere.asked.every(({ method }) => method !== "OPTIONS"), "nothing needs permission first");
  });

  test("nobody is there", async () => {
    const gone = await StoreServer.start();
    const url = serve({}, gone);
    gone.close();
    await failed(await obtain(url), "remote-metadata-unavailable");
  });

  test("a server that ignores ranges is read in one stream", async () => {
    const url = serve({ bytes: LARGE, ranges: false });
    await intact(await obtain(url), LARGE);
    assert.equal(server.asked.filter(({ sent }) => sent === LARGE.length).length, 1);
  });

  test("without a version pieces of two moments are not put together", async () => {
    const url = serve({ bytes: LARGE, etag: null, rate: 4 * MB });
    await begin(url);
    await until(8 * MB);
    await page.evaluate(() => window.stage.abort());
    await begun();
    const other = gguf(48 * MB, 4);
    server.files.set(new URL(url).pathname, { bytes: other, etag: null });
    await intact(await obtain(url), other);
  });

  test("without a version but with a hash a download goes on", async () => {
    const url = serve({ bytes: LARGE, etag: null, rate: 4 * MB });
    await page.evaluate(([source, hash]) => {
      (window as unknown as { begun: unknown }).begun = window.stage.obtain(source ?? "", hash);
    }, [url, sha256(LARGE)]);
    const came = await until(24 * MB);
    await page.evaluate(() => window.stage.abort());
    await begun();
    server.forget();
    server.files.set(new URL(url).pathname, { bytes: LARGE, etag: null });
    await intact(await obtain(url, sha256(LARGE)), LARGE);
    assert.ok(server.sent() <= LARGE.length - came + MB);
  });

  test("a file that changes while it is read comes whole, in its new version", async () => {
    const url = serve({ bytes: LARGE, rate: 4 * MB });
    await begin(url);
    await until(12 * MB);
    const other = gguf(40 * MB, 5);
    server.files.set(new URL(url).pathname, { bytes: other, etag: '"second"' });
    await intact(await begun(), other);
  });

  test("connections that break off are made again, from where they were", async () => {
    const url = serve({ bytes: LARGE, cut: 3 * MB, cuts: 6 });
    await intact(await obtain(url), LARGE);
    assert.ok(server.sent() <= LARGE.length + 4 * MB, `${server.sent()} bytes`);
  });

  test("a connection that is lost for good is told, and the download goes on another day", { timeout: 60_000 }, async () => {
    const url = serve({ bytes: LARGE, rate: 4 * MB }, elsewhere);
    await begin(url);
    const came = await until(16 * MB);
    elsewhere.files.set(new URL(url).pathname, { bytes: LARGE, status: 500 });
    // Those on their way go on unless they are cut.
    await browser.context.setOffline(true);
    try {
      await failed(await begun(), "remote-load-failed", true);
    } finally {
      await browser.context.setOffline(false);
    }
    elsewhere.forget();
    elsewhere.files.set(new URL(url).pathname, { bytes: LARGE });
    await intact(await obtain(url), LARGE);
    assert.ok(elsewhere.sent() <= LARGE.length - came + MB, `${elsewhere.sent()} bytes`);
  });

  test("a connection that falls silent is given up, and made again from where it was", async () => {
    const setClock = await freshWithClock();
    setClock(0, 10);
    const url = serve({ bytes: LARGE, silent: MB, silences: 2 });
    await intact(await obtain(url), LARGE);
    assert.equal(server.sent(), LARGE.length, "no byte is sent twice");
  });

  test("a server that stays silent is told as such", async () => {
    const setClock = await freshWithClock();
    setClock(0, 20);
    const url = serve({ bytes: LARGE, silent: 0, silences: 100 });
    const error = await failed(await obtain(url), "remote-load-failed", true);
    assert.match(error.message, /sent nothing for 30 s/);
  });

  test("what came of a download is kept for a week", async () => {
    const setClock = await freshWithClock();
    const url = serve({ bytes: LARGE, rate: 4 * MB });
    await begin(url);
    await until(16 * MB);
    await page.evaluate(() => window.stage.abort());
    await begun();
    const day = 24 * 3600 * 1000;
    for (const [days, kept] of [[6.9, true], [7.1, false]] as const) {
      setClock(days * day, 1);
      await page.reload();
      await page.waitForFunction(() => window.stage !== undefined);
      assert.deepEqual(await list(), []);
      assert.equal((await page.evaluate(() => window.stage.stored())) > LARGE.length - 1, kept, `after ${days} days`);
    }
    server.files.set(new URL(url).pathname, { bytes: LARGE });
    server.forget();
    await intact(await obtain(url), LARGE);
    assert.equal(server.sent(), LARGE.length, "it begins anew");
  });

  test("a body that always ends early is an error", { timeout: 60_000 }, async () => {
    const url = serve({ bytes: SMALL, claimed: SMALL.length + 1000, ranges: false });
    await failed(await obtain(url), "remote-load-failed");
  });

  test("a file that was cut off before it was served is no model", async () => {
    const error = await failed(await obtain(serve({ bytes: SMALL.subarray(0, 2 * MB) })), "model");
    assert.equal(error.details.fault, "corrupt");
  });

  test("what is not a GGUF file is not even loaded", async () => {
    const url = serve({ bytes: Buffer.alloc(40 * MB, "<html>") });
    const error = await failed(await obtain(url), "model");
    assert.equal(error.details.fault, "not-gguf");
    assert.ok(server.sent() < MB, `${server.sent()} bytes`);
  });

  test("an empty file is not a GGUF file", async () => {
    const error = await failed(await obtain(serve({ bytes: new Uint8Array() })), "model");
    assert.equal(error.details.fault, "not-gguf");
  });

  test("a file of this machine is stored, and known by its contents", async () => {
    const from = serve({ bytes: SMALL });
    const first = await page.evaluate((url) => window.stage.obtainFiles([{ name: "mine.gguf", from: url }]), from);
    await intact(first, SMALL);
    const again = await page.evaluate((url) => window.stage.obtainFiles([{ name: "renamed.gguf", from: url }]), from);
    assert.equal(again.value?.id, first.value?.id);
    assert.equal((await list()).length, 1);
    const wrong = await page.evaluate(([url, hash]) => window.stage.obtainFiles([{ name: "mine.gguf", from: url ?? "" }], hash), [from, "0".repeat(64)]);
    assert.equal(wrong.error?.kind, "hash-mismatch");
    assert.ok((await page.evaluate(() => window.stage.stored())) < SMALL.length + 5000);
  });

  test("the same model from a file and from an address is stored once", async () => {
    const url = serve();
    await page.evaluate((from) => window.stage.obtainFiles([{ name: "mine.gguf", from }]), url);
    await intact(await obtain(url), SMALL);
    assert.equal((await list()).length, 1);
    assert.ok((await page.evaluate(() => window.stage.stored())) < SMALL.length + 5000);
  });

  test("a file of this machine that is no model is not stored", async () => {
    const from = serve({ bytes: Buffer.alloc(MB, "noise") });
    const error = await failed(await page.evaluate((url) => window.stage.obtainFiles([{ name: "noise.gguf", from: url }]), from), "model");
    assert.equal(error.details.fault, "not-gguf");
  });

  const shards = [1, 2, 3].map((index) => gguf(MB + index * 1000, 20 + index));
  const shardName = (index: number): string => `big-0000${index}-of-00003.gguf`;

  /** Serves the shards beside each other and returns their addresses. */
  function serveShards(): string[] {
    count += 1;
    return shards.map((bytes, index) => {
      const path = `/${count}/${shardName(index + 1)}`;
      server.files.set(path, { bytes });
      return `${server.origin}${path}`;
    });
  }

  test("the first shard's address brings all of them, in order", async () => {
    const [first = ""] = serveShards();
    const model = await obtain(first);
    await intact(model, ...shards);
    assert.deepEqual(model.value?.files.map(({ name }) => name), [1, 2, 3].map(shardName));
  });

  test("shards may be named in any order, each once", async () => {
    const [first = "", second = "", third = ""] = serveShards();
    await intact(await obtain([third, first, second]), ...shards);
    assert.equal((await obtain([first, third])).error?.kind, "invalid-model-source");
    assert.equal((await obtain([first, second, second])).error?.kind, "invalid-model-source");
    assert.equal((await obtain(second)).error?.kind, "invalid-model-source");
    assert.equal((await obtain([serve(), serve()])).error?.kind, "invalid-model-source");
  });

  test("shards from this machine are one model, and one that is missing is told", async () => {
    const urls = serveShards();
    const files = urls.map((from, index) => ({ name: shardName(index + 1), from })).reverse();
    await intact(await page.evaluate((all) => window.stage.obtainFiles(all), files), ...shards);
    const { error } = await page.evaluate((all) => window.stage.obtainFiles(all), files.slice(0, 2));
    assert.equal(error?.kind, "invalid-model-source");
  });

  test("a shard that is not there fails before any other is loaded", async () => {
    const [first = "", second = ""] = serveShards();
    server.files.delete(new URL(second).pathname);
    const error = await failed(await obtain(first), "model");
    assert.equal(error.details.fault, "not-found");
    assert.equal(server.sent(), 0);
  });

  test("shards that came before a break are not loaded again", async () => {
    const [first = "", second = ""] = serveShards();
    server.files.set(new URL(second).pathname, { bytes: shards[1] ?? SMALL, rate: 100_000 });
    await begin(first);
    await until((shards[0]?.length ?? 0) + 50_000);
    await page.evaluate(() => window.stage.abort());
    await begun();
    server.files.set(new URL(second).pathname, { bytes: shards[1] ?? SMALL });
    server.forget();
    await intact(await obtain(first), ...shards);
    assert.equal(server.sent(new URL(first).pathname), 0);
  });

  test("hashes of shards are checked one by one", async () => {
    const [first = ""] = serveShards();
    const hashes = shards.map(sha256);
    assert.equal((await obtain(first, hashes.slice(1))).error?.kind, "invalid-model-source");
    const swapped = [hashes[1] ?? "", hashes[0] ?? "", hashes[2] ?? ""];
    assert.equal((await obtain(first, swapped)).error?.kind, "hash-mismatch");
    await intact(await obtain(first, hashes), ...shards);
  });

  test("a model with its projector is one, and shares the model's bytes", async () => {
    const [model, projector] = [serve(), serve({ bytes: gguf(MB, 30) }, server, "mmproj.gguf")];
    const alone = await obtain(model);
    const pair = await page.evaluate(([one, two]) => window.stage.obtain({ model: one ?? "", projector: two ?? "" }), [model, projector] as const);
    await intact(alone, SMALL);
    assert.equal(pair.error, undefined);
    assert.notEqual(pair.value?.id, alone.value?.id);
    assert.equal(pair.value?.bytes, SMALL.length + MB);
    assert.equal(pair.value?.projector?.[0]?.name, "mmproj.gguf");
    assert.ok((await page.evaluate(() => window.stage.stored())) < SMALL.length + MB + 5000);
    await page.evaluate((id) => window.stage.remove(id), alone.value?.id ?? "");
    assert.equal((await page.evaluate((id) => window.stage.verify(id), pair.value?.id ?? "")).error, undefined);
  });

  test("an installed id is a source; an unknown one is an error", async () => {
    const { value } = await obtain(serve());
    server.forget();
    await intact(await obtain(value?.id ?? ""), SMALL);
    assert.equal(server.asked.length, 0);
    const { error } = await obtain(`model-${"0".repeat(24)}`);
    assert.equal(error?.kind, "model");
    assert.equal(error?.details.fault, "not-found");
    const held = await page.evaluate((id) => window.stage.hold(id), `model-${"0".repeat(24)}`);
    assert.equal(held.error?.details.fault, "not-found");
    const removed = await page.evaluate((id) => window.stage.remove(id), `model-${"0".repeat(24)}`);
    assert.equal(removed.error?.details.fault, "not-found");
    assert.equal((await list()).length, 1);
  });

  test("what is no source is told", async () => {
    assert.equal((await obtain("ftp://somewhere/model.gguf")).error?.kind, "invalid-model-source");
    assert.equal((await obtain([])).error?.kind, "invalid-model-source");
    assert.equal((await obtain(serve(), "abc")).error?.kind, "invalid-model-source");
  });

  test("a page that is not secure has no store, and is told why", async () => {
    const insecure = await browser.page(`http://${INSECURE}:${server.port}`);
    const { error } = await insecure.evaluate(() => window.stage.obtain("model.gguf"));
    assert.equal(error?.kind, "storage-unavailable");
    assert.match(error?.message ?? "", /https/);
    await insecure.close();
  });

  test("a browser that stores nothing, as in private windows, is told", async () => {
    await page.evaluate(() => {
      navigator.storage.getDirectory = () => Promise.reject(new DOMException("denied", "SecurityError"));
    });
    const { error } = await obtain(serve());
    assert.equal(error?.kind, "storage-unavailable");
    assert.match(error?.message ?? "", /private window/);
  });
});
