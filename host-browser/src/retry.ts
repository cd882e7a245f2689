/**
 * When to ask an upstream again, and after how long. As `host-native/src/provider/retry.rs`.
 */

import type { SippError } from "./error.ts";

/** The wait before the first retry, in milliseconds; it doubles with each. */
const FIRST = 500;

/** The longest wait that nobody asked for. */
const LONGEST = 8_000;

/** The longest wait that an upstream may ask for. Who is asked to wait longer is told so. */
const LONGEST_ASKED = 60_000;

/**
 * How long to wait before asking again, if that makes sense. `retries` is how often it was done already; `mayPass` tells
 * that there was no response, for a reason that can pass.
 */
export function wait(error: SippError, retries: number, mayPass: boolean): number | undefined {
  const payload = error.details.upstream;
  if (payload === undefined || payload.fault === "quota-exceeded") {
    return undefined;
  }
  const { status, fault, retryAfter } = payload;
  const passing =
    status === undefined
      ? fault === "overloaded" || fault === "rate-limited" || mayPass
      : status === 408 || status === 429 || status === 500 || (status >= 502 && status <= 599);
  if (!passing) {
    return undefined;
  }
  if (retryAfter !== undefined) {
    return retryAfter <= LONGEST_ASKED ? retryAfter : undefined;
  }
  return Math.min(FIRST * 2 ** Math.min(retries, 10), LONGEST) * (0.5 + Math.random() / 2);
}
