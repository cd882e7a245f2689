/**
 * Chromium with the page that runs cases.
 */

import { join } from "node:path";

import type { Page } from "playwright-core";

import { bundle, launch, PACKAGE } from "./browser.ts";
import type { Run } from "./cases-page.ts";
import { serve } from "./server.ts";
import type { Json } from "./steps.ts";

/** A page that runs cases. */
export interface CasesPage {
  readonly page: Page;
  /** Runs a case and returns its transcript. */
  run(asked: Run): Promise<Json[]>;
  /** Ends the page, its browser and its server. */
  close(): Promise<void>;
}

/** Opens the page. `name` is its own folder's; `folders` are served besides. */
export async function openCases(name: string, folders: Readonly<Record<string, string>> = {}, isolated = true): Promise<CasesPage> {
  const folder = await bundle("tests/cases-page.ts", name);
  const server = await serve({ "/page": folder, "/dist": join(PACKAGE, "dist"), ...folders }, isolated);
  const browser = await launch();
  const page = await browser.context.newPage();
  await page.goto(`${server.origin}/page/index.html`);
  await page.waitForFunction(() => window.runCase !== undefined);
  return {
    page,
    // As text, because the types of JSON have no end that a compiler could follow.
    run: async (asked) => JSON.parse(await page.evaluate(async (text) => JSON.stringify(await window.runCase(JSON.parse(text))), JSON.stringify(asked))) as Json[],
    close: async () => {
      await browser.close();
      server.close();
    },
  };
}
