/** What a page and the store's worker say to each other. */

import type { SippError, SippErrorDetails } from "../error.ts";
import type { LoadProgress } from "./source.ts";

/** One file of a source, and the hash that it must have. */
export type SourceFile = { readonly sha256?: string | undefined } & ({ readonly url: string } | { readonly file: File });

/** What is asked for. */
export type Ask =
  | { readonly id: number; readonly verb: "obtain"; readonly files: readonly SourceFile[]; readonly projectors: number }
  | { readonly id: number; readonly verb: "find" | "remove" | "touch" | "verify"; readonly model: string }
  | { readonly id: number; readonly verb: "evict"; readonly bytes: number }
  | { readonly id: number; readonly verb: "list" | "partial" }
  | { readonly id: number; readonly verb: "abort" };

/** What is answered, after any number of reports of progress. */
export type Reply =
  | { readonly id: number; readonly progress: LoadProgress }
  | { readonly id: number; readonly value: unknown }
  | { readonly id: number; readonly error: { readonly kind: SippError["kind"]; readonly message: string; readonly details: SippErrorDetails } };
