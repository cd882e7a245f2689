/**
 * Figures and failures in words.
 *
 * An error's message says what happened in the library's terms; who uses the page needs to know what to do next.
 */

import { SippError } from "../src/index.ts";
import type { LoadProgress, TextResponse } from "../src/index.ts";

/** What happened, and what helps. */
export interface Trouble {
  readonly what: string;
  readonly todo: string;
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB"];

/** A size, as people say it. */
export function size(bytes: number): string {
  const unit = bytes < 1000 ? 0 : Math.min(UNITS.length - 1, Math.floor(Math.log10(bytes) / 3));
  const figure = bytes / 1000 ** unit;
  return `${figure >= 100 || unit === 0 ? Math.round(figure) : figure.toFixed(1)} ${UNITS[unit]}`;
}

const PHASES: Readonly<Record<LoadProgress["phase"], string>> = {
  metadata: "Looking at",
  download: "Downloading",
  store: "Storing",
  verify: "Checking",
  load: "Starting",
};

/** What helps against a model's fault. */
const MODEL: Readonly<Record<string, string>> = {
  "not-found": "Check the address.",
  "out-of-memory": "Try a smaller model, or close other tabs.",
};

/** How far a model is. */
export function progressText(name: string, progress: LoadProgress | undefined): string {
  if (progress === undefined) {
    return `Preparing ${name}`;
  }
  const { phase, loadedBytes, totalBytes } = progress;
  // While the engine starts, bytes say nothing that the bar does not.
  const shows = phase !== "load" && totalBytes !== null && totalBytes > 0;
  return `${PHASES[phase]} ${name}${shows ? `: ${size(loadedBytes)} of ${size(totalBytes)}` : ""}`;
}

/** What an answer took. `firstMs` and `totalMs` count from the question. */
export function figures(response: TextResponse, firstMs: number | undefined, totalMs: number): string {
  const tokens = response.usage?.outputTokens;
  const shown: string[] = [];
  if (tokens !== undefined) {
    shown.push(`${tokens} ${tokens === 1 ? "token" : "tokens"}`);
    // The first token belongs to the prompt's time.
    const seconds = response.stats === undefined ? (totalMs - (firstMs ?? totalMs)) / 1000 : response.stats.decodeTime / 1000;
    if (tokens > 1 && seconds > 0) {
      const speed = (tokens - 1) / seconds;
      shown.push(`${speed < 100 ? speed.toFixed(1) : Math.round(speed)} tokens per second`);
    }
  }
  if (firstMs !== undefined) {
    shown.push(`first token after ${(firstMs / 1000).toFixed(2)} s`);
  }
  if (response.finishReason === "cancelled") {
    shown.push("stopped");
  } else if (response.finishReason === "length") {
    shown.push("cut off at the limit of tokens");
  } else if (response.finishReason === "content-filter") {
    shown.push("the rest was withheld");
  }
  return shown.join(" · ");
}

/** An error in words. */
export function trouble(error: unknown): Trouble {
  if (!(error instanceof SippError)) {
    return { what: sentence(error instanceof Error ? error.message : String(error)), todo: "Reload the page and try again." };
  }
  const { status, storage, upstream } = error.details;
  const what = sentence(error.message);
  switch (error.kind) {
    case "jspi-missing":
      return { what: "This browser cannot run Sipp yet.", todo: what };
    case "storage-quota-exceeded": {
      const room = storage === undefined ? "" : ` It needs ${size(storage.needed)}, and ${size(storage.available)} are free.`;
      return { what: `There is not enough room in this browser's storage.${room}`, todo: "Delete a stored model, or free space on this device." };
    }
    case "storage-unavailable":
      return { what: "This browser gives the page no storage.", todo: "Private windows often have none: open the page in an ordinary window." };
    case "storage-corrupt":
      return { what: "The stored copy of the model is damaged.", todo: "Delete it under Model, and load it again." };
    case "hash-mismatch":
      return { what: "The file is another than expected.", todo: "Nothing was kept. Check where it comes from." };
    case "invalid-model-source":
      return { what, todo: "Choose a GGUF file, or the address of one." };
    case "remote-load-failed":
    case "remote-metadata-unavailable":
      return status === undefined
        ? { what: "The model's server cannot be read.", todo: "Check the address and the connection; the server must allow other sites to read the file (CORS)." }
        : { what: `The model's server answered ${status}.`, todo: status === 404 ? "Check the address." : "Try again later, or ask who runs it." };
    case "threads-unavailable":
      return { what, todo: "Serve the page with the headers that isolate it, as the gateway does." };
    case "model":
      return { what, todo: MODEL[error.details.fault ?? ""] ?? "Try another file." };
    case "prompt-too-long":
      return { what, todo: "Begin a new chat, or shorten the question." };
    case "overloaded":
      return { what, todo: "Wait a moment and ask again." };
    case "upstream":
      return upstreamTrouble(what, status, upstream?.fault);
    case "closed":
      return { what: "The client was closed.", todo: "Reload the page." };
    default:
      return { what, todo: error.kind === "invalid-request" ? "Change the settings or the address." : "Try again, or choose another model." };
  }
}

function upstreamTrouble(what: string, status: number | undefined, fault: string | undefined): Trouble {
  if (status === 401 || fault === "authentication") {
    return { what: "The gateway does not know you.", todo: "Enter its token under Model." };
  }
  if (status === 403 || fault === "authorization") {
    return { what: "You may not use this target.", todo: "Choose another one under Model." };
  }
  if (fault === "transport") {
    return { what: "The gateway cannot be reached.", todo: "Check that it runs. One of another site must allow this page (CORS)." };
  }
  return { what, todo: fault === "rate-limited" || fault === "overloaded" || fault === "timeout" ? "Wait a moment and ask again." : "Try again, or choose another target." };
}

/** The library's messages begin small and end without a stop; an address or a name keeps its letters. */
function sentence(message: string): string {
  const text = /^[a-z]+[ ,;]/.test(message) ? message.charAt(0).toUpperCase() + message.slice(1) : message;
  return /[.!?]$/.test(text) ? text : `${text}.`;
}
