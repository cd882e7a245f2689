/**
 * The cassettes, as folders of data. `tests/cassettes/README.md` says what they hold.
 */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

import { type Case, read, TREE } from "./case.ts";
import { type Exchange, exchanges } from "./upstream.ts";

/** What is said between Sipp and a provider. */
export interface Cassette {
  readonly provider: string;
  /** The name of its folder. */
  readonly folder: string;
  readonly one: Case;
  readonly tape: readonly Exchange[];
}

/** Every cassette, by provider. */
export function cassettes(): ReadonlyMap<string, readonly Cassette[]> {
  const top = join(TREE, "tests/cassettes");
  return new Map(
    folders(top).map((provider) => [
      provider,
      folders(join(top, provider)).map((folder) => {
        const path = join(top, provider, folder);
        const tape = exchanges(readFileSync(join(path, "exchange.http"), "utf8"));
        return { provider, folder, one: read(path, `${provider}/${folder}`), tape };
      }),
    ]),
  );
}

function folders(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map(({ name }) => name).sort();
}
