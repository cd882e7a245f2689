/**
 * Serves the measured pages, the packages and the models on loopback, isolated across origins so that threads work.
 *
 * A page and its models come from one origin with nothing between, so that what is measured is the packages.
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize, sep } from "node:path";

const TYPES: Readonly<Record<string, string>> = {
  ".css": "text/css",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
};

/** Headers of a page that may share memory. */
export const ISOLATION = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
} as const;

/** A running server. */
export interface Server {
  /** Where it listens, without a slash at the end. */
  readonly origin: string;
  /** Ends it. */
  close(): void;
}

/** Serves each folder under the path that names it, such as `/models`. `isolated` is what shared memory needs. */
export async function serve(folders: Readonly<Record<string, string>>, isolated = true): Promise<Server> {
  const server = createServer((request, response) => {
    if (isolated) {
      Object.entries(ISOLATION).forEach(([name, value]) => response.setHeader(name, value));
    }
    answer(folders, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  return {
    origin: `http://127.0.0.1:${port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function answer(
  folders: Readonly<Record<string, string>>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const file = fileOf(folders, new URL(request.url ?? "/", "http://server").pathname);
  const found = file === undefined ? undefined : await stat(file).catch(() => undefined);
  if (file === undefined || found === undefined || !found.isFile()) {
    response.writeHead(404).end();
    return;
  }
  const tag = `"${found.size.toString(16)}-${Math.trunc(found.mtimeMs).toString(16)}"`;
  response.setHeader("etag", tag);
  response.setHeader("accept-ranges", "bytes");
  response.setHeader("content-type", TYPES[extname(file)] ?? "application/octet-stream");
  // As a server of static files does: a browser keeps what it compiled only for what it may keep itself.
  if (request.headers["if-none-match"] === tag) {
    response.writeHead(304).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  if (range !== null && Number(range[1]) >= found.size) {
    response.writeHead(416, { "content-range": `bytes */${found.size}` }).end();
    return;
  }
  const first = Number(range?.[1] ?? 0);
  const last = Math.min(Number(range?.[2] || found.size - 1), found.size - 1);
  if (range !== null) {
    response.setHeader("content-range", `bytes ${first}-${last}/${found.size}`);
  }
  response.setHeader("content-length", last - first + 1);
  response.writeHead(range === null ? 200 : 206);
  if (request.method === "HEAD") {
    response.end();
    return;
  }
  createReadStream(file, { start: first, end: last }).pipe(response);
}

function fileOf(folders: Readonly<Record<string, string>>, path: string): string | undefined {
  for (const [prefix, folder] of Object.entries(folders)) {
    if (path.startsWith(`${prefix}/`)) {
      const file = normalize(join(folder, decodeURIComponent(path.slice(prefix.length + 1))));
      return file.startsWith(normalize(folder) + sep) ? file : undefined;
    }
  }
  return undefined;
}
