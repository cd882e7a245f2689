/**
 * Secrets: who holds them, and how a request gets one.
 *
 * Components and descriptors know a secret by a number. The secret itself stays here, is asked for anew for every request,
 * and goes into one header of one origin; it never enters a component's memory.
 */

import { SippError } from "./error.ts";
import type { SecretSource } from "./request.ts";

/** The secrets of one client. */
export class Vault {
  readonly #sources = new Map<number, SecretSource>();
  #last = 0;

  /** Holds a secret and names it. */
  keep(source: SecretSource): number {
    if ("value" in source === "valueProvider" in source) {
      throw new SippError("invalid-request", "a credential needs either value or valueProvider");
    }
    if ("value" in source) {
      check(source.value);
    }
    this.#last += 1;
    this.#sources.set(this.#last, source);
    return this.#last;
  }

  /** The secret, for one request. Waits for whoever gives it no longer than the request may take. */
  async reveal(credential: number, signal: AbortSignal): Promise<string> {
    const source = this.#sources.get(credential);
    if (source === undefined) {
      throw new SippError("internal", "the credential is not one of this client");
    }
    const secret = "value" in source ? source.value : await unless(signal, source.valueProvider());
    return check(secret);
  }

  /** Forgets every secret. */
  clear(): void {
    this.#sources.clear();
  }
}

function check(secret: string): string {
  if (typeof secret !== "string" || secret === "" || /[^\x21-\x7e]/.test(secret)) {
    throw new SippError("invalid-request", "a credential must be a text of visible characters without spaces");
  }
  return secret;
}

async function unless<T>(signal: AbortSignal, promise: T | Promise<T>): Promise<T> {
  signal.throwIfAborted();
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(signal.reason);
    signal.addEventListener("abort", onAbort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
