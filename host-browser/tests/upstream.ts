/**
 * A fake upstream: a server on loopback that replays a cassette, and sees whether it is asked what was recorded.
 *
 * No HTTP library stands between, so that a reply can be cut anywhere, be malformed, or never come. The README of
 * `tests/cassettes/` says how exchanges are written; `tests/src/upstream` in Rust is the native runner's.
 */

import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { isDeepStrictEqual } from "node:util";

/** The secret with which every request of a cassette authenticates. */
export const SECRET = "sk-sipp-0123456789abcdef";

/** How replies are written: at once, every byte in a write of its own, or in two, cut behind so many bytes. */
export type Pace = "whole" | "bytes" | { readonly cut: number };

/** A request, and what is replied to it. */
export interface Exchange {
  readonly method: string;
  readonly path: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly body: unknown;
  readonly reply: Buffer;
  /** Whether the connection is closed behind the reply. */
  readonly closes: boolean;
}

/** A request that came whole. */
interface Received {
  readonly method: string;
  readonly path: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly text: string;
}

/** An upstream that replays exchanges in their order, whatever connection they come on. */
export class Upstream {
  /** Everything in which requests were not as recorded. */
  readonly mismatches: string[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #exchanges: readonly Exchange[];
  readonly #pace: Pace;
  readonly #crossOrigin: boolean;
  #next = 0;

  private constructor(exchanges: readonly Exchange[], pace: Pace, crossOrigin: boolean) {
    this.#exchanges = exchanges;
    this.#crossOrigin = crossOrigin;
    this.#pace = pace;
    this.#server = createServer((socket) => {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => undefined);
      socket.on("close", () => this.#sockets.delete(socket));
      void this.#serve(socket);
    });
  }

  /** Starts one; `crossOrigin` says whether pages may ask it, and read every header. */
  static async start(exchanges: readonly Exchange[], pace: Pace, crossOrigin = false): Promise<Upstream> {
    const upstream = new Upstream(exchanges, pace, crossOrigin);
    upstream.#server.listen(0, "127.0.0.1");
    await once(upstream.#server, "listening");
    return upstream;
  }

  /** Scheme and authority. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What was other than recorded; nothing when all of it took place. */
  complaints(): string[] {
    const [done, all] = [this.#next, this.#exchanges.length];
    return done === all ? this.mismatches : [...this.mismatches, `${done} of ${all} exchanges took place`];
  }

  close(): void {
    this.#server.close();
    for (const socket of this.#sockets) {
      socket.destroy();
    }
  }

  async #serve(socket: Socket): Promise<void> {
    let unread = Buffer.alloc(0);
    try {
      for await (const chunk of socket) {
        unread = Buffer.concat([unread, chunk as Buffer]);
        for (let request = parse(unread); request !== undefined; request = parse(unread)) {
          unread = unread.subarray(request.length);
          if (!(await this.#answer(socket, request.received))) {
            socket.end();
            return;
          }
        }
      }
    } catch {
      // How a connection broke is for the client to say.
    }
  }

  async #answer(socket: Socket, request: Received): Promise<boolean> {
    if (this.#crossOrigin && request.method === "OPTIONS") {
      const allowed = request.headers.get("access-control-request-headers") ?? "";
      socket.write(`HTTP/1.1 204 No Content\r\n${CROSS_ORIGIN}access-control-allow-headers: ${allowed}\r\n\r\n`);
      return true;
    }
    const exchange = this.#exchanges[this.#next];
    if (exchange === undefined) {
      this.mismatches.push(`one more request, to ${request.path}`);
      return false;
    }
    this.#next += 1;
    this.mismatches.push(...differences(exchange, request).map((text) => `request ${this.#next}: ${text}`));
    const { closes } = exchange;
    const reply = this.#crossOrigin ? forPages(exchange.reply) : exchange.reply;
    if (this.#pace === "bytes") {
      for (let at = 0; at < reply.length; at += 1) {
        socket.write(reply.subarray(at, at + 1));
        await new Promise(setImmediate);
      }
    } else if (this.#pace !== "whole") {
      socket.write(reply.subarray(0, this.#pace.cut));
      await new Promise((resolve) => setTimeout(resolve, 1));
      socket.write(reply.subarray(this.#pace.cut));
    } else if (reply.length > 0) {
      socket.write(reply);
    }
    return !closes;
  }
}

/** Headers by which a page of another origin may read a reply. */
const CROSS_ORIGIN = "access-control-allow-origin: *\r\naccess-control-expose-headers: *\r\n";

/** A reply with these headers behind its first line, if it has one. */
function forPages(reply: Buffer): Buffer {
  const end = reply.indexOf("\r\n") + 2;
  return end < 2 ? reply : Buffer.concat([reply.subarray(0, end), Buffer.from(CROSS_ORIGIN), reply.subarray(end)]);
}

function differences(expected: Exchange, got: Received): string[] {
  const found: string[] = [];
  const compare = (what: string, own: string, other: string): void => {
    if (own !== other) {
      found.push(`${what} is \`${other}\`, expected \`${own}\``);
    }
  };
  compare("method", expected.method, got.method);
  compare("path", expected.path, got.path);
  for (const [name, value] of expected.headers) {
    compare(name, value, got.headers.get(name) ?? "");
  }
  if (!isDeepStrictEqual(json(got.text), expected.body)) {
    found.push(`body is ${got.text}, expected ${JSON.stringify(expected.body)}`);
  }
  for (const [name, value] of got.headers) {
    if (value.includes(SECRET) && !expected.headers.some(([own, placed]) => own === name && placed.includes(SECRET))) {
      found.push(`the credential stands in \`${name}\` too`);
    }
  }
  if (got.path.includes(SECRET) || got.text.includes(SECRET)) {
    found.push("the credential stands in the path or the body");
  }
  return found;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Reads a request, if it is all there, and tells its length. */
function parse(bytes: Buffer): { received: Received; length: number } | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) {
    return undefined;
  }
  const [line = "", ...lines] = bytes.subarray(0, end).toString("latin1").split("\r\n");
  const [method = "", path = ""] = line.split(" ");
  const headers = new Map(lines.map((header) => [header.slice(0, header.indexOf(":")).toLowerCase(), header.slice(header.indexOf(":") + 1).trim()]));
  const length = end + 4 + Number(headers.get("content-length") ?? 0);
  if (headers.has("transfer-encoding")) {
    throw new Error("the request's body has no length, which providers do not take");
  }
  return bytes.length < length ? undefined : { received: { method, path, headers, text: bytes.subarray(end + 4, length).toString() }, length };
}

/** Reads a cassette's exchanges. */
export function exchanges(text: string): Exchange[] {
  const sections = text.split(/^### /m).slice(1);
  return sections.flatMap((section, index) => {
    const reply = sections[index + 1];
    return index % 2 === 0 && reply !== undefined ? [exchange(section, reply)] : [];
  });
}

function exchange(request: string, reply: string): Exchange {
  const { head, body } = parts(request.slice(request.indexOf("\n") + 1));
  const [line = "", ...headers] = head;
  const [method = "", path = ""] = line.split(" ");
  return { method, path, headers: headers.map(header), body: JSON.parse(body), ...framed(reply) };
}

function parts(text: string): { head: string[]; body: string } {
  const end = text.indexOf("\n\n");
  return { head: text.slice(0, end).split("\n"), body: text.slice(end + 2) };
}

function header(line: string): readonly [string, string] {
  const end = line.indexOf(": ");
  return [line.slice(0, end), line.slice(end + 2)];
}

function framed(section: string): Pick<Exchange, "reply" | "closes"> {
  const [mark = ""] = section.split("\n", 1);
  const words = mark.split(" ").slice(1);
  if (words.includes("none")) {
    return { reply: Buffer.alloc(0), closes: true };
  }
  const { head, body } = parts(section.slice(mark.length + 1));
  const headers = head.slice(1).map(header);
  const has = (name: string, value: string): boolean => headers.some((own) => own[0] === name && own[1] === value);
  const [chunked, closing] = [has("transfer-encoding", "chunked"), has("connection", "close")];
  const end = words.includes("crlf") ? "\r\n" : words.includes("cr") ? "\r" : "\n";
  const lines = (body.match(/[^\n]*\n|[^\n]+$/g) ?? []).map((line) => Buffer.from(line.replaceAll("\n", end)));
  if (words.includes("bom")) {
    lines.unshift(Buffer.from("\ufeff"));
  }
  if (!chunked && !closing && !headers.some(([name]) => name === "content-length")) {
    head.push(`content-length: ${Buffer.concat(lines).length}`);
  }
  const pieces = chunked ? lines.map((line) => Buffer.concat([Buffer.from(`${line.length.toString(16)}\r\n`), line, Buffer.from("\r\n")])) : lines;
  const tail = chunked && !words.includes("cut") ? "0\r\n\r\n" : "";
  const reply = Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), ...pieces, Buffer.from(tail)]);
  return { reply, closes: closing || words.includes("cut") };
}
