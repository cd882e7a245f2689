/**
 * The timers of transpiled components.
 *
 * jco drives a component by timers: one step after the other by `setTimeout(0)`, which browsers stretch to 4 ms, and a look
 * every 10 ms while it waits for the host. Here a step comes at once, by a message, and a look comes as soon as a promise
 * of the host settled. The build puts a clock of each instance in the place of the globals; it changes nothing else.
 *
 * To stop its clock is to drop an instance: jco itself would go on looking, for good, at what a component left unfinished.
 */

/** How long jco waits between two looks, in milliseconds. */
const LOOK = 10;

interface Timer {
  readonly run: () => void;
  readonly delay: number;
  readonly timer: ReturnType<typeof globalThis.setTimeout>;
}

const steps: (() => void)[] = [];
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

/** The timers of one instance. */
export class Clock {
  readonly #timers = new Map<number, Timer>();
  #last = 0;
  #stopped = false;

  /** As the global of this name; a timer of no delay cannot be cleared, and jco clears none. */
  readonly setTimeout = (run: () => void, delay = 0): number => {
    this.#last += 1;
    const id = this.#last;
    if (delay === 0) {
      this.#step(run);
    } else if (!this.#stopped) {
      const timer = globalThis.setTimeout(() => {
        this.#timers.delete(id);
        run();
      }, delay);
      this.#timers.set(id, { run, delay, timer });
    }
    return id;
  };

  /** As the global of this name. */
  readonly clearTimeout = (id: number): void => {
    globalThis.clearTimeout(this.#timers.get(id)?.timer);
    this.#timers.delete(id);
  };

  /** A promise of the host, after which the instance looks at once whether it can go on. */
  async waking<T>(promise: Promise<T>): Promise<T> {
    try {
      return await promise;
    } finally {
      // As a step of its own, so that those who wait for the promise heard of it.
      this.#step(() => this.#look());
    }
  }

  /** Lets the instance rest for good. */
  stop(): void {
    this.#stopped = true;
    for (const { timer } of this.#timers.values()) {
      globalThis.clearTimeout(timer);
    }
    this.#timers.clear();
  }

  #step(run: () => void): void {
    if (!this.#stopped) {
      step(() => this.#stopped || run());
    }
  }

  #look(): void {
    for (const [id, { run, delay, timer }] of this.#timers) {
      if (delay === LOOK) {
        globalThis.clearTimeout(timer);
        this.#timers.delete(id);
        this.#step(run);
      }
    }
  }
}
