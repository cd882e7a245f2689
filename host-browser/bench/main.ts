/**
 * `cargo x bench browser`: this package beside wllama in one Chromium, beside itself in Node.js, and beside the native
 * program, on the same files, in turns.
 *
 * Options: `--rounds N` (default 3), `--models a,b`, `--threads 1,2`, `--json FILE`.
 */

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import type { BrowserContext, Page } from "playwright-core";

import { bundle, launch, PACKAGE } from "../tests/browser.ts";
import type { Blocked } from "./page.ts";
import type { Speed, Task } from "./speed.ts";
import { serve } from "../tests/server.ts";

const WORDS = "a model reads this text as fast as it can, and what it says about it is of no importance to anyone. ";

/** Where a speed was measured. */
type Place = "ours" | "peer" | "node" | "native";

/** One model, one number of threads. */
interface Row {
  readonly model: string;
  readonly threads: number;
  readonly promptTokens: number;
  readonly prefill: Record<Place, number>;
  readonly decode: Record<Place, number>;
  /** Medians of the ratios within a round. */
  readonly prefillOverPeer: number;
  readonly decodeOverPeer: number;
  readonly prefillOverNode: number;
  readonly decodeOverNode: number;
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "3" },
    models: { type: "string", default: "26m-q4_0,26m-q8_0,26m-f16,100m-q4_0,100m-q8_0,100m-f16" },
    threads: { type: "string", default: "1,2" },
    json: { type: "string" },
  },
});
const models = needed("SIPP_BENCH_MODELS");
const server = await serve({
  "/page": await bundle("bench/page.ts", "bench"),
  "/dist": join(PACKAGE, "dist"),
  "/wllama": join(PACKAGE, "node_modules/@wllama/wllama"),
  "/models": models,
});
const browser = await launch();
try {
  const figures = await measure(browser.context);
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
  }
} finally {
  await browser.close();
  server.close();
}

function needed(name: string): string {
  const value = process.env[name];
  if (value === undefined) {
    throw new Error(`${name} is not set; run \`cargo x bench browser\``);
  }
  return value;
}

async function measure(context: BrowserContext) {
  const rows: Row[] = [];
  for (const model of values.models.split(",")) {
    for (const threads of values.threads.split(",").map(Number)) {
      const row = await compare(context, model, threads);
      rows.push(row);
      print(row);
    }
  }
  const small = task("26m-q8_0", 1, server.origin);
  // The answers that this takes are the visit before: Chromium keeps compiled code of a page that was used for a while.
  const blocked = await blockedTimes(context, { ...small, tokens: 256 });
  const start = await firstTokens(context, small);
  const cost = await inPage(context, (page) => page.evaluate((t) => window.bench.batchCost(t), { ...small, tokens: 256 }));
  console.log(`\nfirst token of a cached model: ${ms(start.ours)}, wllama ${ms(start.peer)}: ${start.ratio.toFixed(2)} of it`);
  console.log(`longest blocked time of the page's thread: ${ms(blocked.ours)} in ${blocked.batches} batches, wllama ${ms(blocked.peer)}`);
  console.log(`a call with one token takes ${ms(cost.call)}; one batch of ${cost.batches} comes each ${ms(cost.batch)}`);
  return { machine: { cpu: cpus()[0]?.model, cores: cpus().length }, rows, start, blocked, cost };
}

/** Measures one model in all places, in turns. */
async function compare(context: BrowserContext, model: string, threads: number): Promise<Row> {
  const [here, there] = [task(model, threads, server.origin), task(model, threads, undefined)];
  const rounds: Record<Place, Speed>[] = [];
  for (let round = 0; round < Number(values.rounds); round += 1) {
    rounds.push({
      ours: await inPage(context, (page) => page.evaluate((t) => window.bench.ours(t), here)),
      peer: await inPage(context, (page) => page.evaluate((t) => window.bench.peer(t), here)),
      node: inNode(there),
      native: natively(there),
    });
  }
  const all = (value: (round: Record<Place, Speed>) => number): number => middle(rounds.map(value));
  const places = (kind: "prefill" | "decode"): Record<Place, number> => ({
    ours: all((round) => round.ours[kind]),
    peer: all((round) => round.peer[kind]),
    node: all((round) => round.node[kind]),
    native: all((round) => round.native[kind]),
  });
  return {
    model,
    threads,
    promptTokens: all((round) => round.ours.promptTokens),
    prefill: places("prefill"),
    decode: places("decode"),
    prefillOverPeer: all((round) => round.ours.prefill / round.peer.prefill),
    decodeOverPeer: all((round) => round.ours.decode / round.peer.decode),
    prefillOverNode: all((round) => round.ours.prefill / round.node.prefill),
    decodeOverNode: all((round) => round.ours.decode / round.node.decode),
  };
}

/** A prompt of about 400 tokens for the small models, and of a third for the large. */
function task(model: string, threads: number, origin: string | undefined): Task {
  const small = model.startsWith("26m");
  const file = `${model}.gguf`;
  return {
    model: origin === undefined ? join(models, file) : `${origin}/models/${file}`,
    threads,
    prompt: WORDS.repeat(small ? 6 : 2),
    tokens: small ? 64 : 32,
  };
}

async function inPage<T>(context: BrowserContext, use: (page: Page) => Promise<T>): Promise<T> {
  const page = await context.newPage();
  try {
    await page.goto(`${server.origin}/page/index.html`);
    await page.waitForFunction(() => window.bench !== undefined);
    return await use(page);
  } finally {
    await page.close();
  }
}

function inNode(task: Task): Speed {
  const program = join(PACKAGE, "bench/node.ts");
  const output = execFileSync(process.execPath, ["--experimental-wasm-jspi", program, JSON.stringify(task)]);
  return JSON.parse(String(output).trim().split("\n").at(-1) ?? "") as Speed;
}

function natively(task: Task): Speed {
  const options = ["--temperature", "0", "--max-tokens", String(task.tokens), "--threads", String(task.threads)];
  const output = execFileSync(needed("SIPP_PROGRAM"), ["query", task.model, task.prompt, "--ctx-size", "1024", "--json", ...options]);
  const { stats, usage } = JSON.parse(String(output).trim().split("\n").at(-1) ?? "") as {
    stats: { prefill_ms: number; decode_ms: number; prefill_tokens: number };
    usage: { output_tokens: number };
  };
  return {
    prefill: (stats.prefill_tokens / stats.prefill_ms) * 1000,
    decode: ((usage.output_tokens - 1) / stats.decode_ms) * 1000,
    promptTokens: stats.prefill_tokens,
  };
}

/** From a page's beginning to the first token of a model that is in its cache, in turns. */
async function firstTokens(context: BrowserContext, one: Task) {
  const short = { ...one, prompt: "a" };
  const ours = (): Promise<number> => inPage(context, (page) => page.evaluate((t) => window.bench.firstTokenOurs(t), short));
  const peer = (): Promise<number> => inPage(context, (page) => page.evaluate((t) => window.bench.firstTokenPeer(t), short));
  // The first of each fills its cache.
  await ours();
  await peer();
  const rounds: { ours: number; peer: number }[] = [];
  for (let round = 0; round < 5; round += 1) {
    rounds.push({ ours: await ours(), peer: await peer() });
  }
  return {
    ours: middle(rounds.map((round) => round.ours)),
    peer: middle(rounds.map((round) => round.peer)),
    ratio: middle(rounds.map((round) => round.ours / round.peer)),
  };
}

/** How long each holds the page's thread at most while it writes, in turns. */
async function blockedTimes(context: BrowserContext, one: Task) {
  const rounds: { ours: Blocked; peer: Blocked }[] = [];
  for (let round = 0; round < 5; round += 1) {
    rounds.push({
      ours: await inPage(context, (page) => page.evaluate((t) => window.bench.blockedOurs(t), one)),
      peer: await inPage(context, (page) => page.evaluate((t) => window.bench.blockedPeer(t), one)),
    });
  }
  return {
    ours: middle(rounds.map((round) => round.ours.longest)),
    peer: middle(rounds.map((round) => round.peer.longest)),
    batches: middle(rounds.map((round) => round.ours.batches)),
  };
}

function middle(values: readonly number[]): number {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}

function ms(time: number): string {
  return `${time.toFixed(time < 10 ? 2 : 0)} ms`;
}

function print(row: Row): void {
  const show = (speeds: Record<Place, number>): string =>
    (["ours", "peer", "node", "native"] as const).map((place) => `${place} ${speeds[place].toFixed(1)}`).join("  ");
  console.log(`\n${row.model}, ${row.threads} thread(s), ${row.promptTokens} prompt tokens (tokens/s)`);
  console.log(`  prefill  ${show(row.prefill)}  ${row.prefillOverPeer.toFixed(2)} x peer, ${row.prefillOverNode.toFixed(2)} x node`);
  console.log(`  decode   ${show(row.decode)}  ${row.decodeOverPeer.toFixed(2)} x peer, ${row.decodeOverNode.toFixed(2)} x node`);
}
