/**
 * An adapter's way out: `wasi:http/client` over `fetch`, judged by the host.
 *
 * A request goes to the endpoint's own origin or nowhere; the secret goes into the one header that is the host's to write.
 * What an adapter reports passes here too, so that no text shows a secret that an upstream repeated.
 */

import type * as http from "../generated/openai/interfaces/wasi-http-types.js";
import { Clock } from "./clock.ts";
import type { AdapterImports } from "./component.ts";
import { asSippError, SippError } from "./error.ts";
import { node } from "./platform.ts";
import type { Vault } from "./secret.ts";

/** Largest body of a request, in bytes: a conversation with many images. */
const LARGEST_REQUEST = 128 << 20;

/** Most of a response that is read after its adapter had enough, in bytes, and how long that may take, in milliseconds. */
const REST = 16 << 10;
const REST_TIME = 500;

/** Bytes that are read from an adapter at once. */
const PIECE = 1 << 18;

/** Headers that belong to the connection. Node.js drops some of them, and fails for the others. */
const CONNECTION = ["connection", "content-length", "expect", "host", "keep-alive", "transfer-encoding", "upgrade"];

/** Headers that no adapter sets, whatever runs it: of the connection, or saying who asks. As on the native host. */
const FORBIDDEN = new Set([
  "authorization",
  "connection",
  "cookie",
  "host",
  "http2-settings",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/** What `fetch` undoes itself: the body that comes is not coded so any more. */
const UNDONE = new Set(["content-encoding", "content-length", "transfer-encoding"]);

/** Where a credential goes. */
export interface Placement {
  readonly header: string;
  readonly prefix: string;
  readonly credential: number;
}

/** Where one endpoint's requests go, and what is added to them. Times in milliseconds. */
export interface Route {
  readonly baseUrl: URL;
  readonly vault: Vault;
  readonly credential: Placement | undefined;
  readonly headers: readonly (readonly [string, string])[];
  /** Until a response begins, or is complete when it comes in one piece. */
  readonly request: number;
  /** Between two pieces of a response. */
  readonly idle: number;
}

/** Refuses a header that would not be sent. */
export function checkSent(name: string, value: string): void {
  const kept = whyKept(name, value);
  if (kept !== undefined) {
    throw new SippError("invalid-request", `header \`${name}\` ${kept}`);
  }
}

/** Why a header would not be sent, if it would not. Browsers differ in what they keep to themselves, so this one is asked. */
function whyKept(name: string, value: string): string | undefined {
  let sent = false;
  try {
    sent = new globalThis.Request("http://localhost", { headers: [[name, value]] }).headers.has(name);
  } catch {
    return "must hold only characters of Latin-1";
  }
  if (sent && !CONNECTION.includes(name.toLowerCase())) {
    return undefined;
  }
  const where = node === undefined ? "this browser does not let a page send it" : "Node.js does not let a program send it";
  return `would not be sent: ${where}; leave it out, or put a gateway in front`;
}

/** One attempt's way out. */
export class Outbound {
  /** Drives the adapter of the attempt. */
  readonly clock = new Clock();
  /** Whether it failed before there was a response, in a way that can pass. */
  mayPass = false;
  readonly #route: Route;
  readonly #whole: boolean;
  readonly #signal: AbortSignal;
  readonly #secrets: string[] = [];
  /** The class of headers that this attempt's adapter gets: it judges those that the adapter makes. */
  readonly #fields = fieldsJudgedBy((name, value) => this.#judge(name, value));
  #refusal: SippError | undefined;
  #explanation: string | undefined;
  /** Lets what is left of a response go. */
  #release: () => void = () => undefined;

  constructor(route: Route, whole: boolean, signal: AbortSignal) {
    this.#route = route;
    this.#whole = whole;
    this.#signal = signal;
  }

  /** What an adapter imports of `wasi:http`. */
  imports(): Pick<AdapterImports, "wasi:http/client" | "wasi:http/types"> {
    // The generated types are of the classes that jco would bring itself, whose privates no other class has.
    return {
      "wasi:http/client": { send: (request: Request) => this.clock.waking(this.#send(request)) },
      "wasi:http/types": { Fields: this.#fields, Request, RequestOptions, Response },
    } as unknown as Pick<AdapterImports, "wasi:http/client" | "wasi:http/types">;
  }

  /** Drops the adapter, and lets its connection go: nobody wants more of the attempt. */
  end(): void {
    this.clock.stop();
    this.#release();
  }

  /** An adapter's error as it may be shown: the host's own reason where it refused, and no secret in any text. */
  judged(thrown: unknown): SippError {
    const error = asSippError(thrown);
    if (this.#refusal !== undefined && (error.kind === "upstream" || error.kind === "invalid-request")) {
      return this.#refusal;
    }
    const { upstream } = error.details;
    const message = this.#redacted(upstream === undefined ? error.message : (this.#explanation ?? upstream.message));
    if (upstream === undefined) {
      return message === error.message ? error : new SippError(error.kind, message, { ...error.details, cause: undefined });
    }
    const told = { ...upstream, message, code: this.#redactedMaybe(upstream.code), requestId: this.#redactedMaybe(upstream.requestId) };
    return new SippError("upstream", `${told.provider}: ${message}`, { ...error.details, upstream: told });
  }

  #redacted(text: string): string {
    return this.#secrets.reduce((rest, secret) => rest.replaceAll(secret, "[redacted]"), text);
  }

  #redactedMaybe(text: string | undefined): string | undefined {
    return text === undefined ? undefined : this.#redacted(text);
  }

  /** Refuses a header of the adapter's that is the host's to write, or that would not be sent. */
  #judge(name: string, value: string): void {
    const lower = name.toLowerCase();
    const own = FORBIDDEN.has(lower) || lower === this.#route.credential?.header.toLowerCase();
    // What `fetch` writes itself is compared with the body.
    const kept = own ? "is the host's to write" : lower === "content-length" ? undefined : whyKept(name, value);
    if (kept !== undefined) {
      this.#refusal = new SippError("invalid-request", `the adapter's header \`${name}\` ${kept}`);
      throw { tag: "forbidden" } satisfies http.HeaderError;
    }
  }

  async #send(request: Request): Promise<Response> {
    // An adapter that was refused a header may go on without it.
    this.#refusal = undefined;
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), this.#route.request);
    const signal = AbortSignal.any([this.#signal, timeout.signal]);
    let keep = false;
    try {
      const response = await fetch(request.url(this.#own(request)), await this.#complete(request, signal));
      if (response.type === "opaqueredirect") {
        this.#explanation = `${this.#route.baseUrl.host}: it redirects, which is refused`;
        throw code("HTTP-protocol-error");
      }
      keep = this.#whole;
      return new Response(response, this.#fields, this.#body(response, timeout, keep ? timer : undefined), this.clock);
    } catch (thrown) {
      throw this.#failed(thrown, timeout.signal);
    } finally {
      if (!keep) {
        clearTimeout(timer);
      }
    }
  }

  /** The endpoint's origin, if the request goes there. */
  #own(request: Request): URL {
    const { baseUrl } = this.#route;
    const asked = request.origin();
    if (asked === undefined || asked.protocol !== baseUrl.protocol || asked.host !== baseUrl.host) {
      const text = `the adapter asked for \`${asked?.host ?? "no host"}\`, which is not its endpoint's origin; it was refused`;
      this.#refusal = new SippError("internal", text);
      throw code("HTTP-request-denied");
    }
    return baseUrl;
  }

  async #complete(request: Request, signal: AbortSignal): Promise<RequestInit> {
    const { credential, headers, vault } = this.#route;
    const body = await request.body();
    const complete = new Headers();
    for (const [name, value] of request.headers()) {
      if (name.toLowerCase() !== "content-length") {
        complete.append(name, value);
      } else if (value !== String(body?.length ?? 0)) {
        const text = `the adapter's header \`${name}\` says ${value}, and its body has ${body?.length ?? 0} bytes`;
        this.#refusal = new SippError("invalid-request", text);
        throw code("HTTP-request-denied");
      }
    }
    for (const [name, value] of headers) {
      complete.set(name, value);
    }
    if (node !== undefined && !complete.has("user-agent")) {
      complete.set("user-agent", "sipp/0.1.0");
    }
    if (credential !== undefined) {
      const secret = await vault.reveal(credential.credential, signal).catch((thrown: unknown) => {
        this.#refusal = asSippError(thrown);
        throw code("HTTP-request-denied");
      });
      this.#secrets.push(secret);
      complete.set(credential.header, credential.prefix + secret);
    }
    return {
      method: request.method,
      headers: complete,
      body,
      signal,
      cache: "no-store",
      credentials: "omit",
      mode: "cors",
      redirect: "manual",
      referrerPolicy: "no-referrer",
    };
  }

  /** The pieces of a response, each within its time. Calls back how it ended. */
  #body(response: globalThis.Response, timeout: AbortController, timer: ReturnType<typeof setTimeout> | undefined): Pieces {
    const { idle } = this.#route;
    const outbound = this;
    const reader = response.body?.getReader();
    let ended = reader === undefined;
    this.#release = () => {
      clearTimeout(timer);
      if (!ended && reader !== undefined) {
        ended = true;
        void rest(reader, timeout, this.#signal);
      }
    };
    return async function* (done) {
      try {
        while (!ended && reader !== undefined) {
          const waiting = setTimeout(() => timeout.abort(), idle);
          const piece = await outbound.clock.waking(reader.read()).finally(() => clearTimeout(waiting));
          if (piece.done) {
            ended = true;
          } else {
            yield piece.value;
          }
        }
        done({ tag: "ok", val: undefined });
      } catch (thrown) {
        ended = true;
        done({ tag: "err", val: outbound.#broken(thrown, timeout.signal) });
      } finally {
        // Also when the adapter wants no more of it.
        outbound.#release();
        done({ tag: "ok", val: undefined });
      }
    };
  }

  #failed(thrown: unknown, timedOut: AbortSignal): http.ErrorCode {
    if (isCode(thrown)) {
      return thrown;
    }
    if (timedOut.aborted) {
      return code("HTTP-response-timeout");
    }
    if (this.#signal.aborted) {
      return code("connection-terminated");
    }
    // A page is told no more than that there was no response: no connection, no CORS header, or a refused redirect.
    this.mayPass = true;
    const refused = refusedConnection(thrown);
    const hint = node === undefined ? "there is no connection, or it does not allow this page's origin (CORS)" : "there is no connection";
    this.#explanation = `${this.#route.baseUrl.host}: ${refused ? "it does not accept connections" : hint}`;
    return code(refused ? "connection-refused" : "destination-unavailable");
  }

  #broken(thrown: unknown, timedOut: AbortSignal): http.ErrorCode {
    if (timedOut.aborted && !this.#signal.aborted) {
      return code("connection-read-timeout");
    }
    return isCode(thrown) ? thrown : code("connection-terminated");
  }
}

/**
 * An adapter has read what it needs when its provider's protocol says so, which is a little before a response ends. What is
 * left is read here, so that the connection can serve again.
 */
async function rest(reader: ReadableStreamDefaultReader<Uint8Array>, timeout: AbortController, cancelled: AbortSignal): Promise<void> {
  const timer = setTimeout(() => timeout.abort(), REST_TIME);
  try {
    for (let left = REST; left > 0 && !cancelled.aborted; ) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      left -= value.length;
    }
    timeout.abort();
  } catch {
    // Nobody wants it any more.
  } finally {
    clearTimeout(timer);
  }
}

type Ended = http.Result<undefined, http.ErrorCode>;
type Pieces = (done: (ended: Ended) => void) => AsyncGenerator<Uint8Array, void>;

/** Codes without a payload, which are all that are needed. */
type PlainCode = Exclude<http.ErrorCode, { val: unknown }>["tag"];

function code(tag: PlainCode): http.ErrorCode {
  return { tag } as http.ErrorCode;
}

function isCode(thrown: unknown): thrown is http.ErrorCode {
  return typeof thrown === "object" && thrown !== null && "tag" in thrown;
}

function refusedConnection(thrown: unknown): boolean {
  const cause = thrown instanceof Error ? (thrown.cause as { code?: string } | undefined) : undefined;
  return cause?.code === "ECONNREFUSED";
}

/** `wasi:http/types.fields`. */
class Fields {
  readonly entries: readonly (readonly [string, Uint8Array])[];

  constructor(entries: readonly (readonly [string, Uint8Array])[]) {
    this.entries = entries;
  }

  copyAll(): [string, Uint8Array][] {
    return this.entries.map(([name, value]) => [name, value]);
  }

  /** With their values as `fetch` has them: a character for each byte. */
  texts(): [string, string][] {
    return this.entries.map(([name, value]) => [name, String.fromCharCode(...value)]);
  }
}

/** Headers as an adapter makes them, each of which is judged first. */
function fieldsJudgedBy(judge: (name: string, value: string) => void) {
  return class JudgedFields extends Fields {
    static fromList(entries: readonly (readonly [string, Uint8Array])[]): JudgedFields {
      const isWritten = (byte: number): boolean => byte === 9 || (byte >= 32 && byte !== 127);
      if (entries.some(([name, value]) => !/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) || !value.every(isWritten))) {
        throw { tag: "invalid-syntax" } satisfies http.HeaderError;
      }
      const fields = new JudgedFields(entries);
      for (const [name, value] of fields.texts()) {
        judge(name, value);
      }
      return fields;
    }
  };
}

/** What jco gives for a component's stream: it reads many items at once where it is asked to. */
interface Bytes {
  read(count: number): Promise<{ readonly value?: number | readonly number[]; readonly done: boolean }>;
}

/** `wasi:http/types.request`. */
class Request {
  method = "GET";
  readonly #fields: Fields;
  readonly #contents: Bytes | undefined;
  #path = "/";
  #scheme = "";
  #authority: string | undefined;

  private constructor(fields: Fields, contents: Bytes | undefined) {
    this.#fields = fields;
    this.#contents = contents;
  }

  static new(fields: Fields, contents: Bytes | undefined): [Request, Promise<Ended>] {
    return [new Request(fields, contents), Promise.resolve({ tag: "ok", val: undefined })];
  }

  setMethod(method: http.Method): void {
    this.method = method.tag === "other" ? method.val : method.tag.toUpperCase();
  }

  setPathWithQuery(path: string | undefined): void {
    this.#path = path ?? "/";
  }

  setScheme(scheme: http.Scheme | undefined): void {
    this.#scheme = scheme?.tag === "other" ? scheme.val : (scheme?.tag.toLowerCase() ?? "");
  }

  setAuthority(authority: string | undefined): void {
    this.#authority = authority;
  }

  /** Where it goes, if that is an address. */
  origin(): URL | undefined {
    return URL.parse(`${this.#scheme}://${this.#authority ?? ""}`) ?? undefined;
  }

  /** Its address at an origin. */
  url(origin: URL): URL {
    return new URL(this.#path, origin.origin);
  }

  headers(): [string, string][] {
    return this.#fields.texts();
  }

  /** The body, in one piece: a page cannot send one while it is written. */
  async body(): Promise<Uint8Array<ArrayBuffer> | undefined> {
    if (this.#contents === undefined) {
      return undefined;
    }
    const announced = Number(this.headers().find(([name]) => name.toLowerCase() === "content-length")?.[1] ?? Number.NaN);
    const pieces: number[][] = [];
    let size = 0;
    // To wait for the end of what is complete would take time.
    while (size !== announced) {
      const { value, done } = await this.#contents.read(PIECE);
      const piece = value === undefined ? [] : typeof value === "number" ? [value] : [...value];
      pieces.push(piece);
      size += piece.length;
      if (size > LARGEST_REQUEST) {
        throw { tag: "HTTP-request-body-size", val: undefined } satisfies http.ErrorCode;
      }
      if (done) {
        break;
      }
    }
    const body = new Uint8Array(size);
    let at = 0;
    for (const piece of pieces) {
      body.set(piece, at);
      at += piece.length;
    }
    return body;
  }
}

/** `wasi:http/types.request-options`; the limits are the host's own. */
class RequestOptions {}

/** `wasi:http/types.response`. */
class Response {
  readonly #response: globalThis.Response;
  readonly #fields: typeof Fields;
  readonly #pieces: Pieces;
  readonly #clock: Clock;

  constructor(response: globalThis.Response, fields: typeof Fields, pieces: Pieces, clock: Clock) {
    this.#response = response;
    this.#fields = fields;
    this.#pieces = pieces;
    this.#clock = clock;
  }

  getStatusCode(): number {
    return this.#response.status;
  }

  getHeaders(): Fields {
    const encoder = new TextEncoder();
    const headers = [...this.#response.headers].filter(([name]) => !UNDONE.has(name.toLowerCase()));
    return new this.#fields(headers.map(([name, value]) => [name, encoder.encode(value)]));
  }

  static consumeBody(response: Response): [AsyncIterable<Uint8Array>, Promise<Ended>] {
    let done: (ended: Ended) => void = () => undefined;
    const ended = new Promise<Ended>((resolve) => {
      done = resolve;
    });
    return [response.#pieces(done), response.#clock.waking(ended)];
  }
}
