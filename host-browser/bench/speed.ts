/** How fast a generation was, by the engine's own times; the same for Chromium and Node.js. */

import type { TextResponse } from "../src/index.ts";

/** What one generation took. */
export interface Speed {
  /** Prompt tokens a second. */
  readonly prefill: number;
  /** Tokens a second, from the first to the last. */
  readonly decode: number;
  /** Tokens of the prompt. */
  readonly promptTokens: number;
}

/** What to generate. */
export interface Task {
  /** Address of the model. */
  readonly model: string;
  readonly threads: number;
  readonly prompt: string;
  readonly tokens: number;
}

/** Tokens that the context holds, of this package and of its peer. */
export const CONTEXT = 1024;

/** The endpoint that a task asks. */
export function local(task: Task) {
  const context = { nCtx: CONTEXT, nThreads: task.threads, nThreadsBatch: task.threads };
  return { kind: "local", source: task.model, context } as const;
}

/** The client that a task asks. */
export function threading(task: Task) {
  return { threads: task.threads, wasmThreading: task.threads > 1 ? "threads" : "single" } as const;
}

/** The speed that a response tells of. */
export function speed({ stats, usage }: TextResponse): Speed {
  if (stats === undefined || usage?.outputTokens === undefined) {
    throw new Error("the response has no stats");
  }
  return {
    prefill: (stats.prefillTokens / stats.prefillTime) * 1000,
    decode: ((usage.outputTokens - 1) / stats.decodeTime) * 1000,
    promptTokens: stats.prefillTokens,
  };
}
