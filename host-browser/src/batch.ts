/**
 * Token batches on their way.
 */

import type * as types from "../generated/client/interfaces/sipp-inference-types.js";

/** Adds a batch of text to the one before it. False, and nothing done, if either is no text. */
export function join(last: types.TokenBatch | undefined, batch: types.TokenBatch): boolean {
  if (last?.delta.tag !== "text" || batch.delta.tag !== "text") {
    return false;
  }
  last.delta.val += batch.delta.val;
  last.tokens += batch.tokens;
  last.logprobs = last.logprobs.concat(batch.logprobs);
  return true;
}
