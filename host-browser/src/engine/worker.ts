/**
 * The engine's worker: one model, computed step by step, so that the page's thread never waits for it.
 *
 * Between two steps the worker reads its messages, so a cancel is heard before the next token. Tokens go out at once when
 * they are the first of an answer, and else joined every few milliseconds. Nothing here waits for a frame: a tab in the
 * background keeps its speed.
 */

import { join } from "../batch.ts";
import { node } from "../platform.ts";
import { type FileSystem, mount } from "./files.ts";
import type { Command, EngineEvent, Report } from "./protocol.ts";

/** How long tokens are joined before they go out, in milliseconds. A message costs the page about 0.1 ms. */
const JOIN = 16;

/** How long to compute before messages are looked at, in milliseconds. A step is bounded by one batch. */
const TURN = 2;

/** Where the model's files are mounted. */
const FOLDER = "/models";

/** The engine's module, as `engine-sys/src/web.rs` exports it. Addresses are numbers in 64-bit memory too. */
interface Module {
  readonly FS: FileSystem;
  readonly HEAPU8: Uint8Array;
  readonly HEAPU32: Uint32Array;
  _sipp_web_alloc(size: number): number;
  _sipp_web_free(text: number, size: number): void;
  _sipp_web_load(text: number, size: number): number;
  _sipp_web_generate(call: number, text: number, size: number): void;
  _sipp_web_embed(call: number, text: number, size: number): void;
  _sipp_web_cancel(call: number): void;
  _sipp_web_step(): number;
  _sipp_web_events(size: number): number;
}

type Create = (options: object) => Promise<Module>;

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const answering = new Set<number>();
let beginning: Promise<Module> | undefined;
let module: Module | undefined;
let sizeAt = 0;
let waiting: EngineEvent[] = [];
let sent = 0;
let running = false;
let crashed = false;

const { post, later } = connect((command) => {
  try {
    obey(command);
  } catch (error) {
    crash(error);
  }
});

function obey(command: Command): void {
  switch (command.type) {
    case "begin":
      beginning = begin(command);
      beginning.catch(crash);
      break;
    case "load":
      load(command).catch(crash);
      break;
    case "generate":
      withText(command.request, (text, size) => engine()._sipp_web_generate(command.call, text, size));
      run();
      break;
    case "embed":
      withText(command.request, (text, size) => engine()._sipp_web_embed(command.call, text, size));
      run();
      break;
    case "cancel":
      engine()._sipp_web_cancel(command.call);
      break;
  }
}

/** Compiles the engine. A model may come much later. */
async function begin(command: Extract<Command, { type: "begin" }>): Promise<Module> {
  const { default: create } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ command.module)) as {
    default: Create;
  };
  let told = 0;
  return await create({
    sippThreads: command.threads,
    sippProgress: (fraction: number): number => {
      const now = performance.now();
      if (now - told > 100 || fraction === 1) {
        told = now;
        post({ type: "progress", fraction });
      }
      return 1;
    },
    locateFile: () => command.wasm,
    print: () => undefined,
    printErr: () => undefined,
  });
}

async function load(command: Extract<Command, { type: "load" }>): Promise<void> {
  const created = await beginning;
  if (created === undefined) {
    throw new Error("a model came before the engine");
  }
  module = created;
  // As large as the engine's sizes are in 64-bit memory.
  sizeAt = created._sipp_web_alloc(8);
  const close = await mount(created.FS, FOLDER, command.files);
  const model = `${FOLDER}/${command.files[0]?.name ?? "model.gguf"}`;
  const { threads, descriptor } = command;
  const projector = command.projector && `${FOLDER}/${command.projector.file}`;
  withText({ model, projector, threads, descriptor }, (text, size) => created._sipp_web_load(text, size));
  // The weights are in memory now.
  close();
  const names = [[model, command.model] as const];
  if (projector !== undefined) {
    names.push([projector, command.projector?.name ?? projector]);
  }
  send(renamed(take(), names));
}

/** The events, with names in the place of where files were mounted. */
function renamed(events: EngineEvent[], names: readonly (readonly [string, string])[]): EngineEvent[] {
  for (const event of events) {
    if (event.type === "failed" && event.error.tag === "model") {
      const { val } = event.error;
      val.message = names.reduce((text, [path, name]) => text.replaceAll(path, name), val.message);
    }
  }
  return events;
}

/** Computes while there is work, in turns with the worker's messages. */
function run(): void {
  if (!running) {
    running = true;
    later(turn);
  }
}

function turn(): void {
  if (crashed) {
    return;
  }
  try {
    const until = performance.now() + TURN;
    let more = true;
    do {
      more = engine()._sipp_web_step() !== 0;
      deliver(!more);
    } while (more && performance.now() < until);
    running = more;
    if (more) {
      later(turn);
    }
  } catch (error) {
    crash(error);
  }
}

/** Takes events, and sends what is due. */
function deliver(all: boolean): void {
  let due = all;
  for (const event of take()) {
    waiting.push(event);
    if (event.type !== "batch") {
      due = true;
      if (event.type === "done") {
        answering.delete(event.call);
      }
    } else if (!answering.has(event.call)) {
      // The first token of an answer is what its reader waits for.
      answering.add(event.call);
      due = true;
    }
  }
  const now = performance.now();
  if (waiting.length > 0 && (due || now - sent >= JOIN)) {
    send(joined(waiting));
    waiting = [];
    sent = now;
  }
}

/** Consecutive batches of one call as one. */
function joined(events: readonly EngineEvent[]): EngineEvent[] {
  const result: EngineEvent[] = [];
  const open = new Map<number, Extract<EngineEvent, { type: "batch" }>>();
  for (const event of events) {
    if (event.type !== "batch") {
      result.push(event);
      continue;
    }
    if (!join(open.get(event.call)?.batch, event.batch)) {
      open.set(event.call, event);
      result.push(event);
    }
  }
  return result;
}

function take(): EngineEvent[] {
  const at = engine()._sipp_web_events(sizeAt);
  // The lower half, where a size has two.
  const size = engine().HEAPU32[sizeAt / 4] ?? 0;
  if (size === 0) {
    return [];
  }
  // A copy, because text decoders do not read memory that threads share.
  return JSON.parse(decoder.decode(engine().HEAPU8.slice(at, at + size))) as EngineEvent[];
}

function send(events: readonly EngineEvent[]): void {
  post({ type: "events", events });
}

function engine(): Module {
  if (module === undefined) {
    throw new Error("the engine is not loaded");
  }
  return module;
}

/** Lends the engine a value as JSON. */
function withText(value: unknown, use: (text: number, size: number) => void): void {
  const bytes = encoder.encode(JSON.stringify(value, plain));
  const text = engine()._sipp_web_alloc(bytes.length);
  engine().HEAPU8.set(bytes, text);
  use(text, bytes.length);
  engine()._sipp_web_free(text, bytes.length);
}

/** What JSON writes as objects with numbers for names, or not at all: images, and sizes. */
function plain(_: string, value: unknown): unknown {
  if (typeof value === "bigint") {
    return Number(value);
  }
  if (value instanceof Float32Array) {
    return [...value];
  }
  return value instanceof Uint8Array ? base64(value) : value;
}

function base64(bytes: Uint8Array): string {
  let text = "";
  // As many at a time as a call may have arguments, for sure.
  for (let at = 0; at < bytes.length; at += 0x4000) {
    text += String.fromCharCode(...bytes.subarray(at, at + 0x4000));
  }
  return btoa(text);
}

/** Whatever trapped leaves the engine's memory in no state to go on. */
function crash(error: unknown): void {
  crashed = true;
  post({ type: "crashed", message: error instanceof Error ? error.message : String(error) });
}

/** The way to the host, and to a later turn of this worker. */
function connect(onCommand: (command: Command) => void): {
  post(report: Report): void;
  later(run: () => void): void;
} {
  const host = node?.getBuiltinModule("node:worker_threads").parentPort;
  if (host !== undefined && host !== null) {
    host.on("message", onCommand);
    // A port of Node.js delivers up to a thousand messages before another one has its turn.
    const later = (run: () => void): void => void setImmediate(run);
    return { post: (report) => host.postMessage(report), later };
  }
  const { port1, port2 } = new MessageChannel();
  let next: (() => void) | undefined;
  port1.onmessage = () => next?.();
  const later = (run: () => void): void => {
    next = run;
    port2.postMessage(null);
  };
  const scope = globalThis as unknown as { onmessage: unknown; postMessage(message: unknown): void };
  scope.onmessage = (event: MessageEvent<Command>) => onCommand(event.data);
  return { post: (report) => scope.postMessage(report), later };
}
