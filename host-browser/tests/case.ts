/**
 * Cases, as folders of data. `tests/cases/README.md` says what they hold.
 */

import assert from "node:assert";
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { parse } from "smol-toml";

import { difference, type Json } from "./steps.ts";

/** The top folder of the tree. */
export const TREE = join(dirname(fileURLToPath(import.meta.url)), "../..");

/** A test as data. */
export interface Case {
  readonly name: string;
  readonly title: string;
  readonly standIn: boolean;
  /** Why a browser cannot run it. */
  readonly skip: string | undefined;
  /** Whether a cassette is replayed for many places where its reply can be cut in two. */
  readonly cutEverywhere: boolean;
  readonly steps: readonly { readonly [name: string]: Json }[];
  readonly expected: readonly Json[];
}

/** Cases that the engine without threads cannot run, and why. */
export const ONE_THREAD: Readonly<Record<string, string>> = { "generation-batches": "it asks for two threads" };

/** Every case. */
export function cases(): Case[] {
  const folder = join(TREE, "tests/cases");
  const names = readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory());
  return names.map(({ name }) => read(join(folder, name), name));
}

/** Reads the folder of a case. */
export function read(folder: string, name: string): Case {
  const text = (file: string): string => readFileSync(join(folder, file), "utf8");
  const about = parse(text("case.toml")) as { title: string; host?: string; cut_everywhere?: boolean; skip?: Record<string, string> };
  const lines = text("expected.jsonl").split("\n").filter((line) => line !== "");
  return {
    name,
    title: about.title,
    standIn: about.host === "stand-in",
    skip: about.skip?.["browser"],
    cutEverywhere: about.cut_everywhere === true,
    steps: JSON.parse(text("request.json")) as Case["steps"],
    expected: lines.map((line) => JSON.parse(line) as Json),
  };
}

/** Fails where a transcript is another than the expected one. `more` is told besides. */
export function assertAgrees(one: Case, got: readonly Json[], more: readonly string[] = []): void {
  one.expected.forEach((expected, line) => {
    const place = difference(expected, got[line]);
    const lines = [`- ${JSON.stringify(expected)}`, `+ ${JSON.stringify(got[line])}`, ...more];
    assert.equal(place, undefined, `${one.title}; line ${line + 1}, at ${place}\n${lines.join("\n")}`);
  });
  assert.equal(got.length, one.expected.length);
}
