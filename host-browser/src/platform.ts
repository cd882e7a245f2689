/**
 * What differs between a page, a worker and Node.js: starting a worker, reading a file of the package, counting threads.
 *
 * It is told by what is there, never by a name of a browser.
 */

/** Messages to and from a worker. */
export interface Messages {
  post(message: unknown): void;
  /** Ends it, and gives its memory back. */
  terminate(): void;
}

/** What is told of a worker. */
export interface MessageListener {
  message(message: unknown): void;
  /** It failed, outside of what it answers. */
  error(text: string): void;
}

interface NodeProcess {
  readonly versions?: { readonly node?: string };
  getBuiltinModule?(name: string): unknown;
}

/** Node.js's own modules, where there are any. */
export const node = ((globalThis as { process?: NodeProcess }).process?.versions?.node === undefined
  ? undefined
  : (globalThis as unknown as { process: { getBuiltinModule<N extends keyof NodeModules>(name: N): NodeModules[N] } })
      .process) as { getBuiltinModule<N extends keyof NodeModules>(name: N): NodeModules[N] } | undefined;

interface NodeModules {
  "node:fs": typeof import("node:fs");
  "node:fs/promises": typeof import("node:fs/promises");
  "node:os": typeof import("node:os");
  "node:path": typeof import("node:path");
  "node:url": typeof import("node:url");
  "node:worker_threads": typeof import("node:worker_threads");
}

/** Compiles a WebAssembly file of the package. */
export async function compile(url: URL): Promise<WebAssembly.Module> {
  if (node !== undefined && url.protocol === "file:") {
    const bytes = await node.getBuiltinModule("node:fs/promises").readFile(url);
    return await WebAssembly.compile(bytes);
  }
  const response = await fetch(url);
  if (!response.ok) {
    throw new Error(`${url.href} answered ${response.status}`);
  }
  // A static server that knows no type for .wasm must do too.
  return response.headers.get("content-type")?.startsWith("application/wasm") === true
    ? await WebAssembly.compileStreaming(response)
    : await WebAssembly.compile(await response.arrayBuffer());
}

/** Attaches a listener to a worker of browsers. */
export function fromWorker(worker: Worker, listener: MessageListener): Messages {
  worker.onmessage = (event) => listener.message(event.data);
  worker.onerror = (event) => listener.error(event.message ?? "the worker cannot be loaded");
  return { post: (message) => worker.postMessage(message), terminate: () => worker.terminate() };
}

/** Starts a worker of Node.js. It keeps the process alive only while somebody waits for it. */
export function startNodeWorker(url: URL, listener: MessageListener): Messages {
  if (node === undefined) {
    throw new Error("there is no Node.js here");
  }
  const { Worker } = node.getBuiltinModule("node:worker_threads");
  const worker = new Worker(url, { stdout: false, stderr: false });
  worker.on("message", (message) => listener.message(message));
  worker.on("error", (error) => listener.error(error instanceof Error ? error.message : String(error)));
  return { post: (message) => worker.postMessage(message), terminate: () => void worker.terminate() };
}

/** Whether the engine can compute on several threads here. */
export function hasThreads(): boolean {
  return typeof SharedArrayBuffer !== "undefined" && (node !== undefined || globalThis.crossOriginIsolated === true);
}

/** Whether WebAssembly has 64-bit memory here. */
export function hasMemory64(): boolean {
  // A module that is nothing but such a memory.
  return WebAssembly.validate(Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 5, 3, 1, 4, 0));
}

/** Threads that are worth using: a model's weights pass through one memory, and the page needs a core too. */
export function usualThreads(): number {
  const cores = node?.getBuiltinModule("node:os").availableParallelism() ?? globalThis.navigator.hardwareConcurrency;
  return Math.max(1, Math.min(cores, 8));
}
