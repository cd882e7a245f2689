/**
 * A file server that misbehaves as it is told, file by file, and counts what it was asked for and what it sent.
 */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A file, and how it is served. What is absent is as it should be. */
export interface Served {
  bytes: Uint8Array;
  /** Null: none. */
  etag?: string | null;
  lastModified?: string;
  /** Whether ranges are sent. */
  ranges?: boolean;
  /** Whether the length is told. */
  length?: boolean;
  /** A length that is not true; the connection ends where the bytes do. */
  claimed?: number;
  /** `none`: other origins may not read; `bare`: they may, but see no special header. */
  cors?: "none" | "bare" | "exposed";
  /** Answers with this status while it is there. */
  status?: number;
  /** Sends `status` only so often. */
  failures?: number;
  /** Bytes a second on each connection. */
  rate?: number;
  /** Each body breaks off after so many bytes. */
  cut?: number;
  /** Bodies break off so often, then no more. */
  cuts?: number;
  /** Each body falls silent after so many bytes, and its connection stays. */
  silent?: number;
  /** Bodies fall silent so often, then no more. */
  silences?: number;
  type?: string;
}

/** One request, as it was. */
export interface Asked {
  readonly path: string;
  readonly method: string;
  readonly range: string;
  /** Bytes of the body that were sent. */
  sent: number;
}

/** Bytes that are asked for to see what there is. */
const PROBE = 16;

const CHUNK = 1 << 16;

/** Ports of this process's servers. A browser takes one that comes again for the origin that it was, with what it stored. */
const ports = new Set<number>();

/** A running server. */
export class StoreServer {
  readonly files = new Map<string, Served>();
  readonly asked: Asked[] = [];
  readonly #pages: ReadonlyMap<string, { readonly text: string; readonly type: string }>;
  readonly #server = createServer((request, response) => void this.#answer(request, response).catch(() => response.destroy()));

  private constructor(pages: ReadonlyMap<string, { readonly text: string; readonly type: string }>) {
    this.#pages = pages;
  }

  static async start(pages: ReadonlyMap<string, { readonly text: string; readonly type: string }> = new Map()): Promise<StoreServer> {
    const server = new StoreServer(pages);
    await new Promise<void>((listening) => server.#server.listen(0, "127.0.0.1", listening));
    if (ports.has(server.port)) {
      const other = await StoreServer.start(pages);
      server.close();
      return other;
    }
    ports.add(server.port);
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Bytes of file bodies that were sent, without those that only show what there is. */
  sent(path?: string): number {
    return this.asked.filter((one) => (path === undefined || one.path === path) && one.sent > PROBE).reduce((sum, { sent }) => sum + sent, 0);
  }

  forget(): void {
    this.asked.length = 0;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = new URL(request.url ?? "/", "http://server").pathname;
    const page = this.#pages.get(path);
    if (page !== undefined) {
      response.writeHead(200, { "content-type": page.type, "cache-control": "no-store" }).end(page.text);
      return;
    }
    const asked: Asked = { path, method: request.method ?? "", range: request.headers.range ?? "", sent: 0 };
    this.asked.push(asked);
    const file = this.files.get(path);
    const cors = file?.cors ?? "exposed";
    if (cors !== "none") {
      response.setHeader("access-control-allow-origin", "*");
    }
    if (cors === "exposed") {
      response.setHeader("access-control-expose-headers", "etag, content-range, accept-ranges");
    }
    if (request.method === "OPTIONS") {
      // Nothing is allowed beyond what needs no permission.
      response.writeHead(204).end();
      return;
    }
    if (file === undefined) {
      response.writeHead(404, { "content-type": "text/html" }).end("<h1>there is nothing</h1>");
      return;
    }
    if (file.status !== undefined && (file.failures ?? 1) > 0) {
      if (file.failures !== undefined) {
        file.failures -= 1;
      }
      response.writeHead(file.status).end();
      return;
    }
    await this.#send(file, asked, request, response);
  }

  async #send(file: Served, asked: Asked, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { bytes } = file;
    const version = file.etag === undefined ? '"first"' : file.etag;
    if (version !== null) {
      response.setHeader("etag", version);
    }
    if (file.lastModified !== undefined) {
      response.setHeader("last-modified", file.lastModified);
    }
    response.setHeader("content-type", file.type ?? "application/octet-stream");
    const match = file.ranges === false ? null : /^bytes=(\d+)-(\d*)$/.exec(asked.range);
    const condition = request.headers["if-range"];
    const ranged = match !== null && (condition === undefined || condition === version || condition === file.lastModified);
    const from = ranged ? Number(match[1]) : 0;
    const to = ranged && match[2] !== "" ? Math.min(Number(match[2]) + 1, bytes.length) : bytes.length;
    if (ranged && from >= bytes.length) {
      response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end();
      return;
    }
    if (ranged) {
      response.setHeader("content-range", `bytes ${from}-${to - 1}/${file.claimed ?? bytes.length}`);
    }
    if (file.length !== false) {
      response.setHeader("content-length", ranged ? to - from : (file.claimed ?? bytes.length));
    }
    response.writeHead(ranged ? 206 : 200);
    if (request.method === "HEAD") {
      response.end();
      return;
    }
    for (let at = from; at < to; at += CHUNK) {
      // What shows what there is always gets through.
      if (file.cut !== undefined && to - from > PROBE && asked.sent >= file.cut && (file.cuts ?? 1) > 0) {
        if (file.cuts !== undefined) {
          file.cuts -= 1;
        }
        response.destroy();
        return;
      }
      if (file.silent !== undefined && to - from > PROBE && asked.sent >= file.silent && (file.silences ?? 1) > 0) {
        if (file.silences !== undefined) {
          file.silences -= 1;
        }
        await new Promise((resolve) => response.once("close", resolve));
        return;
      }
      const piece = bytes.subarray(at, Math.min(at + CHUNK, to));
      if (response.destroyed) {
        return;
      }
      const flushed = response.write(piece);
      asked.sent += piece.length;
      if (file.rate !== undefined) {
        await new Promise((resolve) => setTimeout(resolve, (piece.length / (file.rate ?? 1)) * 1000));
      } else if (!flushed) {
        await new Promise<void>((resolve) => {
          const go = (): void => {
            response.off("drain", go).off("close", go);
            resolve();
          };
          response.on("drain", go).on("close", go);
        });
      }
    }
    if (!ranged && file.claimed !== undefined && file.claimed > bytes.length) {
      response.destroy();
      return;
    }
    response.end();
  }
}

/** A GGUF file of about `size` bytes: a header and one tensor of noise. It is a model to the store, not to an engine. */
export function gguf(size: number, seed: number): Uint8Array {
  const text = (value: string): Buffer => {
    const bytes = Buffer.from(value);
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(BigInt(bytes.length));
    return Buffer.concat([length, bytes]);
  };
  const u32 = (value: number): Buffer => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return bytes;
  };
  const u64 = (value: number): Buffer => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return bytes;
  };
  // Keys: one text. Tensors: one of 8 bits.
  const head = (length: number): Buffer =>
    Buffer.concat([
      Buffer.from("GGUF"), u32(3), u64(1), u64(1),
      text("general.architecture"), u32(8), text("llama"),
      text("noise"), u32(1), u64(length), u32(24), u64(0),
    ]);
  const start = Math.ceil(head(0).length / 32) * 32;
  const bytes = Buffer.alloc(size);
  head(size - start).copy(bytes);
  let state = seed;
  for (let at = start; at + 4 <= size; at += 4) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes.writeUInt32LE(state, at);
  }
  return bytes;
}
