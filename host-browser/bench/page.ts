/**
 * What is measured inside Chromium: this package and its peer, on the same files, by the clock of the same page.
 *
 * Every function loads what it measures, so that one that ran before leaves no weights in memory.
 */

import type { Wllama } from "@wllama/wllama";

import { SippClient } from "../src/index.ts";
import { CONTEXT, local, type Speed, speed, type Task, threading } from "./speed.ts";

/** How the page's thread fared while it showed an answer. */
export interface Blocked {
  /** Longest time in which the page's thread ran nothing else, in milliseconds. */
  readonly longest: number;
  /** Batches that arrived. */
  readonly batches: number;
}

declare global {
  interface Window {
    bench: typeof bench;
  }
}

const bench = { ours, peer, firstTokenOurs, firstTokenPeer, blockedOurs, blockedPeer, batchCost };
window.bench = bench;

/** This package's speed, by the engine's own times. */
async function ours(task: Task): Promise<Speed> {
  const client = new SippClient(threading(task));
  try {
    await client.add("model", local(task));
    return speed(await client.query(task.prompt, { maxTokens: task.tokens, temperature: 0 }).response);
  } finally {
    await client.close();
  }
}

/** wllama's speed, by its engine's own times. */
async function peer(task: Task): Promise<Speed> {
  const wllama = await loadPeer(task);
  try {
    const { timings } = await wllama.createCompletion(peerRequest(task));
    if (timings === undefined) {
      throw new Error("the peer told no times");
    }
    return {
      prefill: (timings.prompt_n / timings.prompt_ms) * 1000,
      decode: ((timings.predicted_n - 1) / timings.predicted_ms) * 1000,
      promptTokens: timings.prompt_n,
    };
  } finally {
    await wllama.exit();
  }
}

function peerRequest(task: Task) {
  return { prompt: task.prompt, max_tokens: task.tokens, temperature: 0, cache_prompt: false };
}

/** What wllama streams, whose types do not say it. */
interface PeerBatch {
  readonly choices?: readonly { readonly text?: string }[];
}

async function stream(wllama: Wllama, request: object): Promise<AsyncIterable<PeerBatch>> {
  return (await wllama.createCompletion({ ...request, stream: true } as never)) as unknown as AsyncIterable<PeerBatch>;
}

async function loadPeer(task: Task) {
  const { Wllama } = await import("@wllama/wllama");
  const wllama = new Wllama({ default: "/wllama/esm/wasm/wllama.wasm" }, { suppressNativeLog: true });
  // No layer on a GPU: both compute on the processor.
  await wllama.loadModelFromUrl(task.model, { n_ctx: CONTEXT, n_threads: task.threads, n_gpu_layers: 0, n_parallel: 1 });
  return wllama;
}

/** Milliseconds from the page's beginning to this package's first token. */
async function firstTokenOurs(task: Task): Promise<number> {
  const client = new SippClient({ threads: task.threads });
  await client.add("model", local(task));
  for await (const _ of client.query(task.prompt, { maxTokens: 1, temperature: 0 }).tokens) {
    break;
  }
  return performance.now();
}

/** Milliseconds from the page's beginning to wllama's first token. */
async function firstTokenPeer(task: Task): Promise<number> {
  const wllama = await loadPeer(task);
  for await (const _ of await stream(wllama, { ...peerRequest(task), max_tokens: 1 })) {
    break;
  }
  return performance.now();
}

/** How long this package holds the page's thread while it answers. */
async function blockedOurs(task: Task): Promise<Blocked> {
  const client = new SippClient({ threads: task.threads });
  await client.add("model", local(task));
  const { tokens } = client.query(task.prompt, { maxTokens: task.tokens, temperature: 0 });
  const blocked = await show(tokens, ({ delta }) => (delta.tag === "text" ? delta.val : ""));
  await client.close();
  return blocked;
}

/** How long wllama holds it. */
async function blockedPeer(task: Task): Promise<Blocked> {
  const wllama = await loadPeer(task);
  const blocked = await show(await stream(wllama, peerRequest(task)), ({ choices }) => choices?.[0]?.text ?? "");
  await wllama.exit();
  return blocked;
}

/** Puts every batch into the document, and looks how long the page's thread was held. */
async function show<T>(batches: AsyncIterable<T>, text: (batch: T) => string): Promise<Blocked> {
  const shown = document.body.appendChild(document.createElement("pre"));
  const beat = heartbeat();
  let count = 0;
  for await (const batch of batches) {
    shown.append(text(batch));
    count += 1;
  }
  return { longest: beat.stop(), batches: count };
}

/** Runs a task as often as the page's thread lets it, and remembers the longest wait between two. */
function heartbeat(): { stop(): number } {
  const { port1, port2 } = new MessageChannel();
  let [last, longest] = [performance.now(), 0];
  port1.onmessage = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    port2.postMessage(null);
  };
  port2.postMessage(null);
  return {
    stop: () => {
      port1.close();
      return longest;
    },
  };
}

/** Milliseconds of the page for each batch of an answer, and for a whole call, with the client component between. */
async function batchCost(task: Task): Promise<{ call: number; batch: number; batches: number }> {
  const client = new SippClient({ threads: task.threads });
  await client.add("model", local(task));
  const once = async (maxTokens: number): Promise<number> => {
    let batches = 0;
    for await (const _ of client.query("a", { maxTokens, temperature: 0 }).tokens) {
      batches += 1;
    }
    return batches;
  };
  await once(1);
  const calls = 50;
  let started = performance.now();
  for (let round = 0; round < calls; round += 1) {
    await once(1);
  }
  const call = (performance.now() - started) / calls;
  started = performance.now();
  const batches = await once(task.tokens);
  const batch = (performance.now() - started - call) / Math.max(batches - 1, 1);
  await client.close();
  return { call, batch, batches };
}
