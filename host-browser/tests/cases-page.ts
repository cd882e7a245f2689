/** The page in which Chromium runs the cases. */

import { SippClient } from "../src/index.ts";
import { openStandIn } from "./stand-in.ts";
import { type Json, transcribe } from "./steps.ts";

/** What the page is asked to run. */
export interface Run {
  readonly steps: readonly { readonly [name: string]: Json }[];
  readonly standIn: boolean;
  readonly names: readonly string[];
  readonly threading: "auto" | "single" | "threads";
  /** Where an upstream is, and the secret for it. */
  readonly upstream?: { readonly url: string; readonly secret: string };
}

declare global {
  interface Window {
    runCase(run: Run): Promise<Json[]>;
    SippClient: typeof SippClient;
  }
}

window.SippClient = SippClient;

window.runCase = async ({ steps, standIn, names, threading, upstream }) => {
  const client = new SippClient({ wasmThreading: threading, threads: 2 }, standIn ? openStandIn : undefined);
  const source = (name: string): string => new URL(`/models/${name}.gguf`, location.href).href;
  // An address in messages of the way here, a file's name in the engine's.
  const shown = names.flatMap((name) => [[source(name), name], [`${name}.gguf`, name]] as const);
  const remote = upstream === undefined ? {} : { upstream: upstream.url, secret: upstream.secret };
  return await transcribe({ client, standIn, source, names: shown, ...remote }, steps);
};
