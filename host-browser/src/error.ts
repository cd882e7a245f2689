/**
 * Why something failed: one class for the whole package, and the one place where a contract's error becomes it.
 *
 * Its `kind` has a case where a caller acts differently on it. The contract's kinds are the same in every language; the
 * others are what only a browser can lack.
 */

import type * as types from "../generated/client/interfaces/sipp-inference-types.js";

/** The contract's kinds of error. */
export type ContractKind = types.Error["tag"];

/** What a browser can lack, and what can go wrong on the way of a model into it. */
export type BrowserKind =
  | "aborted"
  | "hash-mismatch"
  | "invalid-model-source"
  | "jspi-missing"
  | "remote-load-failed"
  | "remote-metadata-unavailable"
  | "storage-corrupt"
  | "storage-quota-exceeded"
  | "storage-unavailable"
  | "threads-unavailable";

/** What a storage needs and has, in bytes. */
export interface StorageFigures {
  readonly needed: number;
  readonly available: number;
}

/** Hashes as hexadecimal digits; what was found is empty where the length was wrong. */
export interface HashFigures {
  readonly expected: string;
  readonly actual: string;
}

/** What an error may tell besides its kind and its message. */
export interface SippErrorDetails {
  /** The endpoint's id, of `endpoint-not-found`, and of `unsupported` where one was named. */
  readonly endpoint?: string | undefined;
  /** The operation, of errors that are about one. */
  readonly operation?: types.Operation | undefined;
  /** What is missing, of `unsupported`; in one word why, of what concerns the store. */
  readonly reason?: string | undefined;
  /** What is wrong with a model, of `model`. */
  readonly fault?: types.ModelFault | types.UpstreamFault | undefined;
  /** Everything that an upstream told, of `upstream`. */
  readonly upstream?: types.UpstreamPayload | undefined;
  /** Lengths, of `prompt-too-long`. */
  readonly prompt?: types.PromptTooLongPayload | undefined;
  /** Why it was cancelled, of `cancelled`. */
  readonly cancelled?: types.CancelReason | undefined;
  /** HTTP status, of `remote-load-failed` and `remote-metadata-unavailable`. */
  readonly status?: number | undefined;
  /** Figures, of `storage-quota-exceeded`. */
  readonly storage?: StorageFigures | undefined;
  /** Hashes, of `hash-mismatch` and `storage-corrupt`. */
  readonly hash?: HashFigures | undefined;
  /** What it comes from. */
  readonly cause?: unknown;
}

/** Why a request, an endpoint or a model failed. */
export class SippError extends Error {
  override readonly name = "SippError";
  readonly kind: ContractKind | BrowserKind;
  readonly details: SippErrorDetails;

  constructor(kind: ContractKind | BrowserKind, message: string, details: SippErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.kind = kind;
    this.details = details;
  }
}

/** What errors were in the contract's words, to be said there again. */
const contracts = new WeakMap<SippError, types.Error>();

/** An error of a contract, as the application gets it. */
export function fromContract(error: types.Error): SippError {
  const told = inWords(error);
  contracts.set(told, error);
  return told;
}

function inWords(error: types.Error): SippError {
  switch (error.tag) {
    case "invalid-request":
    case "overloaded":
    case "internal":
      return new SippError(error.tag, error.val);
    case "endpoint-not-found":
      return new SippError(error.tag, `endpoint \`${error.val}\` was not found; add it first`, { endpoint: error.val });
    case "ambiguous-endpoint":
      return new SippError(error.tag, `more than one local endpoint can ${error.val}; name one`, { operation: error.val });
    case "no-supported-endpoint":
      return new SippError(error.tag, `no local endpoint can ${error.val}; add one, or name an endpoint`, {
        operation: error.val,
      });
    case "unsupported": {
      const { operation, endpoint, reason } = error.val;
      const who = endpoint === undefined ? "" : `endpoint \`${endpoint}\` `;
      return new SippError(error.tag, `${who}cannot ${operation}: ${reason}`, { operation, endpoint, reason });
    }
    case "prompt-too-long": {
      const { promptTokens, contextTokens } = error.val;
      const lengths = `the prompt has ${promptTokens} tokens, and the context holds ${contextTokens}`;
      return new SippError(error.tag, `${lengths}; shorten it or raise nCtx`, { prompt: error.val });
    }
    case "model":
      return new SippError(error.tag, error.val.message, { fault: error.val.fault });
    case "upstream":
      return new SippError(error.tag, `${error.val.provider}: ${error.val.message}`, {
        fault: error.val.fault,
        status: error.val.status,
        upstream: error.val,
      });
    case "cancelled":
      return new SippError(error.tag, `the request was cancelled: ${CANCELLED[error.val]}`, { cancelled: error.val });
    case "closed":
      return new SippError(error.tag, "the client is closed");
  }
}

const CANCELLED: Readonly<Record<types.CancelReason, string>> = {
  "caller-cancelled": "the caller cancelled",
  "client-disconnected": "the caller went away",
  "server-shutdown": "the page is going away",
  "deadline-exceeded": "its deadline passed",
};

/** An error as a component gets it: what is not the contract's own becomes `internal`, and comes back by its text. */
export function toContract(error: unknown): types.Error {
  if (isContract(error)) {
    return error;
  }
  if (error instanceof SippError) {
    const told = contracts.get(error);
    if (told !== undefined) {
      return told;
    }
    const { details, message } = error;
    switch (error.kind) {
      case "invalid-request":
      case "overloaded":
        return { tag: error.kind, val: message };
      case "model":
        return { tag: "model", val: { fault: (details.fault ?? "corrupt") as types.ModelFault, message } };
      case "cancelled":
        return { tag: "cancelled", val: details.cancelled ?? "caller-cancelled" };
      case "upstream":
        return details.upstream === undefined
          ? { tag: "internal", val: message }
          : { tag: "upstream", val: details.upstream };
      default:
        return { tag: "internal", val: message };
    }
  }
  return { tag: "internal", val: error instanceof Error ? error.message : String(error) };
}

function isContract(error: unknown): error is types.Error {
  return typeof error === "object" && error !== null && "tag" in error && typeof error.tag === "string";
}

/** What was thrown, as an error of this package. */
export function asSippError(thrown: unknown): SippError {
  if (thrown instanceof SippError) {
    return thrown;
  }
  // What a component returns as an error, jco throws with the error as its payload.
  const payload = thrown instanceof Error && "payload" in thrown ? thrown.payload : thrown;
  if (isContract(payload)) {
    return fromContract(payload);
  }
  const message = thrown instanceof Error ? thrown.message : String(thrown);
  return new SippError("internal", message, { cause: thrown });
}
