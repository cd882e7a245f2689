/**
 * The same generation in Node.js: how much of the engine's speed Chromium keeps.
 *
 * It is a process of its own, because it is measured in turns with Chromium, and starts as cold. Its one argument is the
 * task, as JSON; it writes the speed, as JSON.
 */

import { SippClient } from "../tests/published.ts";
import type { Speed, Task } from "./page.ts";

const task = JSON.parse(process.argv[2] ?? "{}") as Task;
const client = new SippClient({ threads: task.threads, wasmThreading: task.threads > 1 ? "threads" : "single" });
const context = { nCtx: 1024, nThreads: task.threads, nThreadsBatch: task.threads };
await client.add("model", { kind: "local", source: task.model, context });
const { stats, usage } = await client.query(task.prompt, { maxTokens: task.tokens, temperature: 0 }).response;
await client.close();
if (stats === undefined || usage?.outputTokens === undefined) {
  throw new Error("the response has no stats");
}
const speed: Speed = {
  prefill: (stats.prefillTokens / stats.prefillTime) * 1000,
  decode: ((usage.outputTokens - 1) / stats.decodeTime) * 1000,
  promptTokens: stats.prefillTokens,
};
console.log(JSON.stringify(speed));
