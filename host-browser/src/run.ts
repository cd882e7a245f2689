/**
 * Runs: what a request gives its caller.
 *
 * A run has a promise of the whole response and, before that, its token batches; both can be used on one run, in any order.
 */

import type * as client from "../generated/client/interfaces/sipp-client-client.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import type { Answer } from "./channel.ts";
import { asSippError, fromContract, SippError } from "./error.ts";

/** How long a cancelled run waits for its outcome, in milliseconds. Whoever answers must not hang its caller. */
const PATIENCE = 1000;

/** A whole answer to `query` or `chat`. */
export interface TextResponse {
  /** Who answered. */
  readonly endpoint: client.EndpointRef;
  /** The text: every text batch of the run, in order. */
  readonly text: string;
  /** Reasoning that is not part of the text; mostly empty. */
  readonly reasoning: string;
  /** Tools that the model wants called. */
  readonly toolCalls: readonly types.ToolCall[];
  /** All of these in their order: the message of the assistant, to go on with the conversation. */
  readonly message: types.Message;
  /** How likely each token of the text was, when `logprobs` was asked for. */
  readonly logprobs: readonly types.TokenLogprob[];
  /** Why it ended. */
  readonly finishReason: types.FinishReason;
  /** Why it was cancelled, if it was; `text` is what had been produced. */
  readonly cancelled?: types.CancelReason | undefined;
  /** Tokens, where they were counted. */
  readonly usage?: types.Usage | undefined;
  /** Times, when a local model answered. */
  readonly stats?: types.Stats | undefined;
  /** Identifiers. */
  readonly metadata: types.Metadata;
}

/** A whole answer to `embed`. */
export interface EmbedResponse extends types.Embedding {
  /** Who answered. */
  readonly endpoint: client.EndpointRef;
}

/** What a call gives once it was accepted. */
export interface Started {
  readonly endpoint: client.EndpointRef;
  readonly answer: Answer;
}

/** Ends a call, or what is left of it. */
export type Abort = (reason: types.CancelReason) => void;

/** A running request. */
class Run<Response> {
  /** The whole response. It is rejected with a `SippError`. */
  readonly response: Promise<Response>;
  protected reason: types.CancelReason | undefined;
  protected refuse!: (error: SippError) => void;
  readonly #abort: Abort;
  /** Why the caller's signal was aborted. */
  #cause: unknown;

  constructor(abort: Abort, limits: { signal?: AbortSignal | undefined; deadlineMs?: number | undefined }, respond: (cancelled: Promise<never>) => Promise<Response>) {
    this.#abort = abort;
    const cancelled = new Promise<never>((_, reject) => {
      this.refuse = reject;
    });
    cancelled.catch(() => undefined);
    const onAbort = (): void => {
      this.#cause = signal?.reason;
      this.cancel("caller-cancelled");
    };
    const { signal, deadlineMs } = limits;
    const timer = deadlineMs === undefined || !(deadlineMs > 0) ? undefined : setTimeout(() => this.cancel("deadline-exceeded"), deadlineMs);
    this.response = respond(cancelled).finally(() => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
    });
    // Who reads only tokens does not hear of a failure here, and shall not be told of it as unhandled.
    this.response.catch(() => undefined);
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted === true) {
      // Not before the constructors of classes above this one have run.
      queueMicrotask(onAbort);
    }
  }

  /** Stops the run. What was produced so far stays readable, and the response says that it was cancelled. */
  cancel(reason: types.CancelReason = "caller-cancelled"): void {
    if (this.reason === undefined) {
      this.reason = reason;
      this.#abort(reason);
      this.onCancel(reason);
    }
  }

  protected onCancel(reason: types.CancelReason): void {
    const error = fromContract({ tag: "cancelled", val: reason });
    if (this.#cause !== undefined) {
      error.cause = this.#cause;
    }
    this.refuse(error);
  }
}

/** A running `query` or `chat`. */
export class TextRun extends Run<TextResponse> implements AsyncIterable<types.TokenBatch> {
  readonly #started: Promise<Started>;
  #answer: Answer | undefined;

  constructor(started: Promise<Started>, abort: Abort, limits: { signal?: AbortSignal | undefined; deadlineMs?: number | undefined }) {
    super(abort, limits, async (cancelled) => {
      try {
        const { endpoint, answer } = await Promise.race([started, cancelled]);
        this.#answer = answer;
        const ending = await Promise.race([answer.ending, cancelled]);
        if (ending.tag === "err") {
          throw fromContract(ending.val);
        }
        return complete(endpoint, answer, ending.val, this.reason);
      } catch (thrown) {
        throw asSippError(thrown);
      }
    });
    this.#started = started;
    started.catch(() => undefined);
  }

  /** The token batches that are still to come. Batches that wait are joined. A failure is thrown. Leaving the loop early cancels. */
  get tokens(): AsyncIterable<types.TokenBatch> {
    return this;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<types.TokenBatch, void> {
    let ended = false;
    try {
      const answer = await Promise.race([this.#started.then((started) => started.answer), this.response.then(() => undefined)]);
      for (let batch = await answer?.next(); batch !== undefined; batch = await answer?.next()) {
        yield batch;
      }
      ended = true;
      await this.response;
    } catch (thrown) {
      ended = true;
      throw asSippError(thrown);
    } finally {
      if (!ended) {
        this.cancel();
      }
    }
  }

  protected override onCancel(reason: types.CancelReason): void {
    if (this.#answer === undefined) {
      super.onCancel(reason);
      return;
    }
    this.#answer.cancel(reason);
    const timer = setTimeout(() => super.onCancel(reason), PATIENCE);
    this.response.finally(() => clearTimeout(timer)).catch(() => undefined);
  }
}

/** A running `embed`. */
export class EmbedRun extends Run<EmbedResponse> {
  constructor(answer: Promise<client.EmbedAnswer>, abort: Abort, limits: { signal?: AbortSignal | undefined; deadlineMs?: number | undefined }) {
    answer.catch(() => undefined);
    super(abort, limits, async (cancelled) => {
      try {
        const { endpoint, embedding } = await Promise.race([answer, cancelled]);
        return { endpoint, ...embedding };
      } catch (thrown) {
        throw asSippError(thrown);
      }
    });
  }
}

function complete(
  endpoint: client.EndpointRef,
  answer: Answer,
  outcome: types.Outcome,
  reason: types.CancelReason | undefined,
): TextResponse {
  const content = answer.content.filter((part) => part.tag !== "text" || part.val !== "");
  const { finish, usage, stats, metadata } = outcome;
  return {
    endpoint,
    text: content.map((part) => (part.tag === "text" ? part.val : "")).join(""),
    reasoning: content.map((part) => (part.tag === "reasoning" ? part.val.text : "")).join(""),
    toolCalls: content.flatMap((part) => (part.tag === "tool-call" ? [part.val] : [])),
    message: { role: "assistant", content },
    logprobs: answer.logprobs,
    finishReason: finish,
    cancelled: finish === "cancelled" ? (reason ?? "caller-cancelled") : undefined,
    usage,
    stats,
    metadata,
  };
}
