/**
 * Where a model comes from, and what is told while it comes.
 */

/** A model's file, or its shards in order. */
export type ModelFiles = string | URL | File | readonly (string | URL)[] | readonly File[];

/** A model's source: files; an installed model's id; or a model with its projector. */
export type ModelSource = ModelFiles | { readonly model: ModelFiles; readonly projector?: ModelFiles };

/** How far a model is on its way. */
export interface LoadProgress {
  readonly phase: "metadata" | "download" | "store" | "verify" | "load";
  readonly loadedBytes: number;
  /** All bytes of the phase, once they are known. */
  readonly totalBytes: number | null;
  /** From 0 to 100, once it is known. */
  readonly percent: number | null;
  /** The file that it is about. */
  readonly name?: string | undefined;
}
