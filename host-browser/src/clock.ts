/**
 * The timers of transpiled components.
 *
 * jco drives a component by timers: one step after the other by `setTimeout(0)`, which browsers stretch to 4 ms, and a look
 * every 10 ms while it waits for the host. Here a step comes at once, by a message, and a look comes as soon as a promise
 * of the host settled. The build puts these functions in the place of the globals; it changes nothing else.
 */

/** How long jco waits between two looks, in milliseconds. */
const LOOK = 10;

interface Timer {
  readonly run: () => void;
  readonly delay: number;
  readonly timer: ReturnType<typeof globalThis.setTimeout>;
}

const timers = new Map<number, Timer>();
const steps: (() => void)[] = [];
let last = 0;
const post = poster();

/** What makes a task of its own, without a delay. */
function poster(): () => void {
  const { setImmediate } = globalThis as { setImmediate?: (run: () => void) => void };
  if (setImmediate !== undefined) {
    // A port of Node.js would hold up everything else, and keep the process alive.
    return () => setImmediate(next);
  }
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = next;
  return () => port2.postMessage(null);
}

function next(): void {
  steps.shift()?.();
}

function step(run: () => void): void {
  steps.push(run);
  post();
}

/** As the global of this name; a timer of no delay cannot be cleared, and jco clears none. */
export function setTimeout(run: () => void, delay = 0): number {
  last += 1;
  const id = last;
  if (delay === 0) {
    step(run);
  } else {
    const timer = globalThis.setTimeout(() => {
      timers.delete(id);
      run();
    }, delay);
    timers.set(id, { run, delay, timer });
  }
  return id;
}

/** As the global of this name. */
export function clearTimeout(id: number): void {
  globalThis.clearTimeout(timers.get(id)?.timer);
  timers.delete(id);
}

/** A promise of the host, after which every component looks at once whether it can go on. */
export async function waking<T>(promise: Promise<T>): Promise<T> {
  try {
    return await promise;
  } finally {
    // As a step of its own, so that those who wait for the promise heard of it.
    step(look);
  }
}

function look(): void {
  for (const [id, { run, delay, timer }] of timers) {
    if (delay === LOOK) {
      globalThis.clearTimeout(timer);
      timers.delete(id);
      step(run);
    }
  }
}
