/**
 * Chromium, as the tests and the measurements start it, and the pages that they show it.
 */

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { build } from "esbuild";
import { type BrowserContext, chromium } from "playwright-core";

/** The package's folder. */
export const PACKAGE = join(dirname(fileURLToPath(import.meta.url)), "..");

/** What every Chromium of the tests is started with. */
export const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A Chromium with a fresh profile. */
export interface Browser {
  readonly context: BrowserContext;
  /** Where its profile lies: another one can go on with it. */
  readonly profile: string;
  /** Ends it; the profile goes unless it is kept. */
  close(keep?: boolean): Promise<void>;
}

/** Starts Chromium, with an earlier one's profile where that is given. */
export async function launch(profile = mkdtempSync(join(tmpdir(), "sipp-chromium-"))): Promise<Browser> {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env["SIPP_CHROMIUM"] ?? "/usr/bin/chromium",
    args: FLAGS,
    ignoreDefaultArgs: ["--headless"],
  });
  const close = async (keep = false): Promise<void> => {
    await context.close();
    if (!keep) {
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    }
  };
  return { context, profile, close };
}

/** Bundles a script of a page; the package itself is used as it is published. Returns the folder, with an `index.html`. */
export async function bundle(script: string, name: string): Promise<string> {
  const folder = join(PACKAGE, "dist/tests", name);
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: [{ in: join(PACKAGE, script), out: "page" }],
    outdir: folder,
    bundle: true,
    format: "esm",
    logLevel: "error",
    plugins: [
      {
        name: "published",
        setup: (builder) => {
          builder.onResolve({ filter: /src\/index\.ts$/ }, () => ({ path: "/dist/index.js", external: true }));
        },
      },
    ],
  });
  writeFileSync(join(folder, "index.html"), `<!doctype html><title>${name}</title><body><script type="module" src="page.js"></script>`);
  return folder;
}
