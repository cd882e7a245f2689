/**
 * A walk through the chat page, as its visitors take it: in Chromium, before a real gateway.
 *
 * Screenshots lie in `target/browser/screenshots` for people to look at.
 */

import assert from "node:assert";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import type { Page } from "playwright-core";

import { type Browser, launch, PACKAGE } from "./browser.ts";
import { type Gateway, start } from "./gateway.ts";

const SHOTS = join(PACKAGE, "../target/browser/screenshots");
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Longest wait for anything on the page, in milliseconds. */
const PATIENCE = 20_000;

/** What a model could write to do harm, beside what it may. */
const MARKDOWN = `# Sums
A **bold** claim, \`code\`, [a link](https://example.com/a) and [a trap](javascript:alert(1)).

1. one
2. two
   - nested

| a | b |
|---|---|
| 1 | 2 |

\`\`\`rust
fn main() { println!("a line that is longer than a phone is wide, by a good deal"); }
\`\`\`

<img src=x onerror="window.harmed = true"><script>window.harmed = true</script>

![picture](https://example.com/track.png) 1 &lt; 2

> quoted
`;

describe("the chat page", { timeout: 10 * PATIENCE }, () => {
  let gateway: Gateway;
  let browser: Browser;
  let page: Page;
  /** What the page complained about. */
  const complaints: string[] = [];
  /** Requests of the page and its workers. */
  const requests: string[] = [];

  before(async () => {
    mkdirSync(SHOTS, { recursive: true });
    gateway = await start();
    browser = await launch();
    page = await browser.context.newPage();
    page.setDefaultTimeout(PATIENCE);
    await page.setViewportSize({ width: 1100, height: 800 });
    page.on("console", (message) => {
      if (message.type() === "error") {
        complaints.push(message.text());
      }
    });
    page.on("pageerror", (error) => complaints.push(error.message));
    browser.context.on("request", (request) => requests.push(`${request.method()} ${new URL(request.url()).pathname}`));
    await page.goto(`${gateway.origin}/chat`);
    await way("demo.gguf").waitFor();
  });
  after(async () => {
    await browser?.close();
    gateway?.close();
  });

  // What fails shall not take what follows with it.
  afterEach(() => page.evaluate(() => document.querySelectorAll("dialog").forEach((dialog) => dialog.close())));

  const way = (name: string) => page.locator(".way").filter({ hasText: name });
  const shot = async (name: string): Promise<void> => {
    // Movement has no place in a picture.
    await page.screenshot({ path: join(SHOTS, `${name}.png`), animations: "disabled" });
  };
  const isReady = (name: string) => page.locator("#open-models[data-state=ready]").filter({ hasText: name }).waitFor();
  const load = async (name: string): Promise<void> => {
    await page.getByRole("button", { name: "Model: " }).click();
    await page.getByRole("button", { name: `Load ${name}` }).click();
    await isReady(name);
  };
  /** Asks, waits for the answer's end, and returns what was answered. */
  const ask = async (question: string): Promise<string> => {
    await page.getByLabel("Your question").fill(question);
    await page.keyboard.press("Enter");
    await page.locator("#messages > .answer:last-child:not(.writing)").waitFor();
    return (await page.locator("#messages > .answer:last-child .body").innerText()).trim();
  };
  const figures = () => page.locator("#messages > .answer:last-child .foot").innerText();
  /** What keeps somebody from using the page. */
  const barriers = async (): Promise<string[]> => {
    // The page takes no scripts but its own; the tool is put in from outside.
    await page.evaluate(AXE);
    return await page.evaluate(async () => {
      const { axe } = window as unknown as { axe: { run(): Promise<{ violations: { id: string; impact: string; nodes: { html: string; failureSummary: string }[] }[] }> } };
      const { violations } = await axe.run();
      return violations.map(({ id, impact, nodes }) => `${impact} ${id}: ${nodes.map((node) => `${node.html} ${node.failureSummary}`).join("; ")}`);
    });
  };

  test("it is isolated and invites", async () => {
    assert.equal(await page.evaluate(() => crossOriginIsolated), true);
    assert.match(page.url(), /\/chat\/$/);
    assert.deepEqual(await page.locator(".way strong").allInnerTexts(), ["demo.gguf", "endless.gguf", "demo", "Another model"]);
    assert.equal(await page.getByRole("button", { name: "Send" }).isDisabled(), true);
    assert.deepEqual(await barriers(), []);
    await shot("empty");
  });

  test("the dialogs have no barriers", async () => {
    await page.getByRole("button", { name: "Model: " }).click();
    await page.locator("#targets li").waitFor();
    assert.deepEqual(await barriers(), []);
    await shot("models");
    await page.keyboard.press("Escape");
    await page.getByRole("button", { name: "Settings" }).click();
    assert.deepEqual(await barriers(), []);
    await shot("settings");
    await page.getByRole("button", { name: "Done" }).click();
  });

  test("the demo model answers in the browser", async () => {
    await way("demo.gguf").click();
    await isReady("demo.gguf");
    assert.equal(await page.evaluate(() => document.activeElement?.id), "question");
    await shot("ready");
    assert.equal(await ask("What is 3 plus 4?"), "7");
    assert.match(await figures(), /^1 token · first token after \d+\.\d\d s/);
    assert.equal(await ask("What is the opposite of hot?"), "The opposite of hot is cold.");
    assert.match(await figures(), /^\d+ tokens · [\d.]+ tokens per second · first token after/);
    const spoken = await page.locator("#spoken p").allInnerTexts();
    assert.deepEqual(spoken, ["7", "The opposite of hot is cold."]);
    assert.deepEqual(await barriers(), []);
    await shot("answers");
  });

  test("keys send, break lines and move in order", async () => {
    await page.getByLabel("Your question").fill("one");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("two");
    assert.equal(await page.getByLabel("Your question").inputValue(), "one\ntwo");
    await page.getByLabel("Your question").fill("");
    await page.locator(".skip").focus();
    const order: string[] = [];
    for (let step = 0; step < 7; step += 1) {
      await page.keyboard.press("Tab");
      order.push(await page.evaluate(() => document.activeElement?.id || document.activeElement?.textContent?.trim() || ""));
    }
    assert.deepEqual(order, ["open-models", "clear", "open-settings", "conversation", "Copy", "Copy", "question"]);
  });

  test("a long answer stops, by its button and by Escape", async () => {
    // Slow, to see how far it is.
    await browser.context.route("**/models/endless.gguf", async (route) => {
      await new Promise((later) => setTimeout(later, 500));
      await route.continue();
    });
    await page.getByRole("button", { name: "Model: " }).click();
    await page.getByRole("button", { name: "Load endless.gguf" }).click();
    await page.locator("#loading").waitFor();
    await shot("loading");
    await isReady("endless.gguf");
    await browser.context.unroute("**/models/endless.gguf");
    for (const stop of ["button", "Escape"]) {
      await page.getByLabel("Your question").fill("Tell me a story about a cat.");
      await page.keyboard.press("Enter");
      await page.waitForFunction(() => (document.querySelector(".answer.writing .body")?.textContent?.length ?? 0) > 400);
      const before = await page.evaluate(() => {
        const view = document.querySelector("#conversation") as HTMLElement;
        return Math.round(view.scrollHeight - view.scrollTop - view.clientHeight);
      });
      assert.ok(before < 100, `the end is ${before} pixels below`);
      await shot(`writing-${stop}`);
      await (stop === "button" ? page.getByRole("button", { name: "Stop" }).click() : page.keyboard.press(stop));
      await page.locator("#messages > .answer:last-child:not(.writing)").waitFor();
      assert.match(await figures(), /· stopped/);
      const length = (await page.locator("#messages > .answer:last-child .body").innerText()).length;
      await page.waitForTimeout(300);
      assert.equal((await page.locator("#messages > .answer:last-child .body").innerText()).length, length);
    }
    await page.getByRole("button", { name: "New chat" }).click();
    assert.equal(await page.locator("#messages > li").count(), 0);
  });

  test("sampling and the system prompt are used and kept", async () => {
    await page.getByRole("button", { name: "Settings" }).click();
    await page.getByLabel("Most tokens").fill("5");
    await page.getByLabel("Temperature").fill("0");
    await page.getByRole("button", { name: "Done" }).click();
    await ask("Tell me a story about a dog.");
    assert.match(await figures(), /^5 tokens .* cut off at the limit of tokens/);
    await page.reload();
    await page.getByRole("button", { name: "Settings" }).click();
    assert.equal(await page.getByLabel("Most tokens").inputValue(), "5");
    await page.getByLabel("Most tokens").fill("");
    await page.getByRole("button", { name: "Done" }).click();
  });

  test("a stored model loads without its server, and can be deleted", async () => {
    await way("demo.gguf").filter({ hasText: "stored" }).waitFor();
    await page.getByRole("button", { name: "Model: " }).click();
    const stored = page.locator("#stored li");
    await stored.filter({ hasText: "demo.gguf" }).waitFor();
    assert.match(await page.locator("#storage").innerText(), /^This page uses [\d.]+ MB of [\d.]+ GB\.$/);
    await shot("stored");
    requests.length = 0;
    await page.getByRole("button", { name: "Load demo.gguf" }).click();
    await isReady("demo.gguf");
    assert.equal(await ask("What is 3 plus 4?"), "7");
    assert.deepEqual(requests.filter((request) => request.includes(".gguf")), []);

    await page.getByRole("button", { name: "Model: " }).click();
    await stored.filter({ hasText: "demo.gguf" }).filter({ hasText: "answers now" }).waitFor();
    await page.getByRole("button", { name: "Delete endless.gguf" }).click();
    await stored.filter({ hasText: "endless.gguf" }).waitFor({ state: "detached" });
    assert.equal(await page.getByRole("status").first().innerText(), "endless.gguf is deleted");
    await page.getByRole("button", { name: "Delete demo.gguf" }).click();
    await page.locator("#stored .hint").filter({ hasText: "demo.gguf is in use" }).waitFor();
    assert.deepEqual(await stored.locator(".name").allInnerTexts(), ["demo.gguf"]);
    await page.keyboard.press("Escape");
  });

  test("the gateway answers", async () => {
    await page.getByRole("button", { name: "Model: " }).click();
    await page.getByRole("button", { name: "Use demo" }).click();
    await page.locator("#note").filter({ hasText: "Runs on this gateway." }).waitFor();
    assert.equal(await ask("What is 2 plus 2?"), "4");
    assert.match(await figures(), /^1 token/);

    const refusal = { error: { code: "authorization", message: "caller is not allowed to use the target" } };
    await page.route("**/v1/chat", (route) => route.fulfill({ status: 403, json: refusal }));
    assert.equal(await ask("What is 5 plus 1?"), "");
    assert.match(await figures(), /^You may not use this target\. Choose another one under Model\./);
    await page.unroute("**/v1/chat");
    await page.getByRole("button", { name: "Ask again" }).click();
    await page.locator("#messages > .answer:last-child:not(.writing, .failed)").waitFor();
    assert.equal(await page.locator("#messages > .answer:last-child .body").innerText(), "6");
  });

  test("a file of the device is run", async () => {
    await page.getByRole("button", { name: "Model: " }).click();
    await page.locator("#file").setInputFiles({ name: "mine.gguf", mimeType: "", buffer: readFileSync(join(gateway.folder, "demo.gguf")) });
    await isReady("mine.gguf");
    assert.equal(await ask("What is 1 plus 1?"), "2");
  });

  test("what a model writes is shown and never run", async () => {
    await page.getByRole("button", { name: "Model: " }).click();
    await page.getByRole("button", { name: "Use demo" }).click();
    await page.locator("#note").filter({ hasText: "Runs on this gateway." }).waitFor();
    // Cut within words and marks, as tokens are.
    const events = (MARKDOWN.match(/[^]{1,7}/g) ?? []).map((text, sequence) => `event: token\ndata: ${JSON.stringify({ text, sequence })}\n\n`);
    const body = `${events.join("")}event: usage\ndata: {"input_tokens":1,"output_tokens":${events.length},"total_tokens":${events.length + 1}}\n\nevent: done\ndata: {"finish_reason":"stop"}\n\n`;
    await page.route("**/v1/chat", (route) => route.fulfill({ contentType: "text/event-stream", body }));
    await ask("Show me what you can");
    await page.unroute("**/v1/chat");
    const answer = page.locator("#messages > .answer:last-child .body");
    assert.equal(await answer.locator("img, script, iframe, svg").count(), 0);
    assert.equal(await page.evaluate(() => "harmed" in window), false);
    const links = await answer.locator("a").evaluateAll((all) => all.map((one) => [one.textContent, (one as HTMLAnchorElement).href]));
    assert.deepEqual(links, [["a link", "https://example.com/a"], ["picture", "https://example.com/track.png"]]);
    assert.deepEqual(await answer.locator("h3, strong, pre code, td, ol > li, blockquote").evaluateAll((all) => all.map((one) => one.tagName)), [
      "H3", "STRONG", "LI", "LI", "TD", "TD", "CODE", "BLOCKQUOTE",
    ]);
    const text = await answer.innerText();
    assert.ok(text.includes("<script>window.harmed = true</script>") && text.includes("1 < 2"), text);
    assert.deepEqual(await barriers(), []);
    await shot("markdown");
  });

  test("failures are told in words, with what helps", async () => {
    const trouble = page.locator("#trouble");
    for (const [path, what] of [
      ["models/none.gguf", /none\.gguf.* Check the address\./],
      ["chat/chat.js", /GGUF/i],
    ] as const) {
      await page.getByRole("button", { name: "Model: " }).click();
      await page.getByLabel("A GGUF file on the web").fill(`${gateway.origin}/chat/${path}`);
      await page.locator("#from-url button").click();
      await trouble.waitFor();
      assert.match(await trouble.innerText(), what);
    }
    assert.deepEqual(await barriers(), []);
    await shot("trouble");
    await page.getByRole("button", { name: "Dismiss" }).click();
    assert.equal(await trouble.isVisible(), false);
    // The failed loads took the endpoint; what was said is still there, and goes on with the next model.
    await load("demo.gguf");
    await page.route("**/v1/models", (route) => route.fulfill({ status: 401, json: {} }));
    await page.getByRole("button", { name: "Model: " }).click();
    await page.getByRole("button", { name: "List its targets" }).click();
    await page.getByText("It asks for a token.").waitFor();
    await page.unroute("**/v1/models");
    await page.keyboard.press("Escape");
  });

  for (const [device, width, height] of [["phone", 390, 844], ["narrow", 360, 640]] as const) {
    for (const scheme of ["light", "dark"] as const) {
      test(`a ${device} in the ${scheme} shows all of it`, async () => {
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
        const fits = async (name: string): Promise<void> => {
          const over = await page.evaluate(() => [...document.querySelectorAll("body *")].filter((one) => one.closest("pre, .table") === null && one.getBoundingClientRect().right > innerWidth + 1 && getComputedStyle(one).clipPath === "none").map((one) => one.outerHTML.slice(0, 80)));
          assert.deepEqual(over, []);
          await shot(`${device}-${scheme}-${name}`);
        };
        await page.evaluate(() => document.querySelector("#conversation")?.scrollTo(0, 0));
        await fits("answers");
        assert.deepEqual(await barriers(), []);
        await page.getByRole("button", { name: "Model: " }).click();
        await page.locator("#stored li").first().waitFor();
        await fits("models");
        assert.deepEqual(await barriers(), []);
        await page.keyboard.press("Escape");
        await page.getByRole("button", { name: "Settings" }).click();
        await fits("settings");
        await page.keyboard.press("Escape");
      });
    }
  }

  test("a first visit on a phone, in the dark", async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: "dark" });
    await page.reload();
    await way("demo.gguf").waitFor();
    await shot("phone-dark-empty");
    assert.deepEqual(await barriers(), []);
  });

  test("nothing went wrong unseen", () => {
    // Of the failures that this walk made itself.
    const expected = /Failed to load resource: the server responded with a status of (401|403|404)/;
    assert.deepEqual(complaints.filter((text) => !expected.test(text)), []);
  });
});
