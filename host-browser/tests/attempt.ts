/**
 * One attempt of an adapter's to send something, as the host sees it: the adapter's part is played here, because every
 * adapter of this package is too well behaved.
 */

import { asSippError } from "../src/error.ts";
import { Outbound } from "../src/outbound.ts";
import { Vault } from "../src/secret.ts";

/** What the adapter sends. */
export interface Attempt {
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: string;
  /** The header that the endpoint's credential goes into. */
  readonly credential?: string;
}

/** What came of it: the reply's status, or the host's error and what the adapter was told. */
export type Came = { readonly status: number } | { readonly kind: string; readonly message: string; readonly told: unknown };

/** A body as jco gives a component's stream. */
class Contents implements AsyncIterable<number> {
  readonly #bytes: Uint8Array;
  #done = false;

  constructor(text: string) {
    this.#bytes = new TextEncoder().encode(text);
  }

  async read(): Promise<{ value?: number[]; done: boolean }> {
    const done = this.#done;
    this.#done = true;
    return done ? { done } : { value: [...this.#bytes], done };
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<number> {
    yield* this.#bytes;
  }
}

/** Makes an attempt. */
export async function attempt({ url, headers, body, credential }: Attempt): Promise<Came> {
  const vault = new Vault();
  const placed = credential === undefined ? undefined : { header: credential, prefix: "", credential: vault.keep({ value: "secret" }) };
  const route = { baseUrl: new URL(url), vault, credential: placed, headers: [], request: 5000, idle: 5000 };
  const outbound = new Outbound(route, true, new AbortController().signal);
  const { "wasi:http/client": client, "wasi:http/types": http } = outbound.imports();
  try {
    const encoder = new TextEncoder();
    const fields = http.Fields.fromList(headers.map(([name, value]) => [name, encoder.encode(value)]));
    const [request] = http.Request.new(fields, new Contents(body), Promise.resolve({ tag: "ok", val: undefined }), undefined);
    request.setMethod({ tag: "post" });
    request.setScheme({ tag: "HTTP" });
    request.setAuthority(new URL(url).host);
    request.setPathWithQuery("/");
    const response = await client.send(request);
    return { status: response.getStatusCode() };
  } catch (told) {
    // As adapters do: what they made themselves is invalid, what was not sent has no upstream.
    const payload = { provider: "p", fault: "connection", message: "it was not sent" };
    const made = JSON.stringify(told).includes("forbidden");
    const error = outbound.judged(asSippError(made ? { tag: "invalid-request", val: "a header" } : { tag: "upstream", val: payload }));
    return { kind: error.kind, message: error.message, told };
  } finally {
    outbound.end();
  }
}
