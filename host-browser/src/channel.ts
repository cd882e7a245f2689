/**
 * An answer on its way: from who produces it to who reads it.
 *
 * Text that nobody read yet is joined into one batch, so a slow reader holds nobody up, and memory never grows past the
 * answer. What went by is kept, because a response holds all of it whether somebody read along or not.
 */

import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import { join } from "./batch.ts";

/** How an answer ended. */
export type Ending = types.Result<types.Outcome, types.Error>;

/** An answer that has begun. */
export class Answer {
  /** How it ended; settles after the last batch was pushed. */
  readonly ending: Promise<Ending>;
  /** Settles with the first batch. */
  readonly begun: Promise<undefined>;
  /** Everything that was pushed, joined. */
  readonly content: types.Part[] = [];
  /** How likely each token was. */
  readonly logprobs: types.TokenLogprob[] = [];
  readonly #waiting: types.TokenBatch[] = [];
  readonly #cancel: (reason: types.CancelReason) => void;
  #ended = false;
  #end!: (ending: Ending) => void;
  #begin!: () => void;
  #wake: (() => void) | undefined;

  /** `cancel` is told that nobody wants the rest. The answer ends all the same, with what there is. */
  constructor(cancel: (reason: types.CancelReason) => void) {
    this.#cancel = cancel;
    this.ending = new Promise((resolve) => {
      this.#end = resolve;
    });
    this.begun = new Promise((resolve) => {
      this.#begin = () => resolve(undefined);
    });
  }

  /** Adds a batch. */
  push(batch: types.TokenBatch): void {
    this.#begin();
    this.#keep(batch);
    if (!join(this.#waiting.at(-1), batch)) {
      this.#waiting.push({ ...batch, delta: { ...batch.delta } as types.Delta });
    }
    this.#wake?.();
  }

  /** Ends it. What comes later is not heard. */
  finish(ending: Ending): void {
    this.#ended = true;
    this.#end(ending);
    this.#wake?.();
  }

  /** Asks for no more. */
  cancel(reason: types.CancelReason): void {
    if (!this.#ended) {
      this.#cancel(reason);
    }
  }

  /** The next batch; none when there are no more. */
  async next(): Promise<types.TokenBatch | undefined> {
    for (;;) {
      const batch = this.#waiting.shift();
      if (batch !== undefined || this.#ended) {
        return batch;
      }
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }

  #keep({ delta, logprobs }: types.TokenBatch): void {
    const last = this.content.at(-1);
    if (delta.tag === "text" && last?.tag === "text") {
      last.val += delta.val;
    } else if (delta.tag === "reasoning" && last?.tag === "reasoning" && last.val.signature === undefined) {
      last.val = { text: last.val.text + delta.val.text, signature: delta.val.signature };
    } else {
      this.content.push({ ...delta });
    }
    for (const logprob of logprobs) {
      this.logprobs.push(logprob);
    }
  }
}
