/**
 * The store's worker: answers what the page asks. Only workers may write files at will.
 */

import { SippError } from "../error.ts";
import { idle } from "./partial.ts";
import { obtain } from "./obtain.ts";
import type { Ask, Reply } from "./protocol.ts";
import { evict } from "./quota.ts";
import { covered } from "./ranges.ts";
import { clean, find, installed, touch, uninstall } from "./registry.ts";
import type { LoadProgress } from "./source.ts";
import { verify } from "./verify.ts";

/** Progress is told so often at most, in milliseconds. */
const TELL = 100;

const running = new Map<number, AbortController>();
const ready = clean();
// Whoever asks is told.
ready.catch(() => undefined);

globalThis.onmessage = (event: MessageEvent<Ask>) => {
  const ask = event.data;
  if (ask.verb === "abort") {
    running.get(ask.id)?.abort(new SippError("aborted", "the load was aborted"));
    return;
  }
  const controller = new AbortController();
  running.set(ask.id, controller);
  answer(ask, controller.signal)
    .then(
      (value) => reply({ id: ask.id, value }),
      (thrown: unknown) => reply({ id: ask.id, error: flat(controller.signal.aborted ? controller.signal.reason : thrown) }),
    )
    .finally(() => running.delete(ask.id));
};

function reply(message: Reply): void {
  (globalThis as unknown as { postMessage(message: unknown): void }).postMessage(message);
}

async function answer(ask: Exclude<Ask, { verb: "abort" }>, signal: AbortSignal): Promise<unknown> {
  await ready;
  const progress = throttled((told) => reply({ id: ask.id, progress: told }));
  switch (ask.verb) {
    case "obtain":
      return await obtain(ask.files, ask.projectors, progress, signal);
    case "find":
      return await find(ask.model);
    case "list":
      return await installed();
    case "partial":
      return (await idle()).map(({ note }) => ({ source: note?.url ?? "", bytes: note?.bytes ?? null, loaded: covered(note?.ranges ?? []) }));
    case "remove":
      return await uninstall(ask.model);
    case "evict":
      return await evict(ask.bytes);
    case "verify":
      return await verify(ask.model, progress, signal);
    case "touch":
      return await touch(ask.model);
  }
}

/** Passes on what is news: a phase, a file, a note, the end; and otherwise a figure now and then. */
function throttled(tell: (progress: LoadProgress) => void): (progress: LoadProgress) => void {
  let last = 0;
  let about = "";
  return (progress) => {
    const now = performance.now();
    const topic = `${progress.phase} ${progress.name}`;
    if (progress.note !== undefined || topic !== about || now - last >= TELL || progress.loadedBytes === progress.totalBytes) {
      [last, about] = [now, topic];
      tell(progress);
    }
  };
}

function flat(thrown: unknown): NonNullable<Extract<Reply, { error: unknown }>["error"]> {
  if (thrown instanceof SippError) {
    const { cause: _, ...details } = thrown.details;
    return { kind: thrown.kind, message: thrown.message, details };
  }
  const message = thrown instanceof Error ? `${thrown.name}: ${thrown.message}` : String(thrown);
  return { kind: "internal", message, details: {} };
}
