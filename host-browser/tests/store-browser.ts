/**
 * A Chromium that can be killed: started as a process of the tests' own, spoken to over its debugging port.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { build } from "esbuild";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";

import { FLAGS, PACKAGE } from "./browser.ts";

/** A host name that is this machine, and no secure context. */
export const INSECURE = "insecure.test";

/** A file that a page loads. */
export interface Script {
  readonly text: string;
  readonly type: string;
}

/** A running Chromium. */
export class KillableBrowser {
  readonly profile: string;
  readonly #process: ChildProcess;
  readonly #browser: Browser;

  private constructor(profile: string, process: ChildProcess, browser: Browser) {
    this.profile = profile;
    this.#process = process;
    this.#browser = browser;
  }

  /** Starts one, with an earlier one's profile where that is given. */
  static async start(profile = mkdtempSync(join(tmpdir(), "sipp-store-"))): Promise<KillableBrowser> {
    const flags = [...FLAGS, "--remote-debugging-port=0", `--host-resolver-rules=MAP ${INSECURE} 127.0.0.1`, `--user-data-dir=${profile}`, "about:blank"];
    // A group of its own, so that a kill reaches all of its processes.
    const process_ = spawn(process.env["SIPP_CHROMIUM"] ?? "/usr/bin/chromium", flags, { detached: true, stdio: ["ignore", "ignore", "pipe"] });
    const address = await new Promise<string>((resolve, reject) => {
      let told = "";
      process_.stderr?.on("data", (piece: Buffer) => {
        told += piece.toString();
        const match = /DevTools listening on (ws:\S+)/.exec(told);
        if (match?.[1] !== undefined) {
          resolve(match[1]);
        }
      });
      process_.once("exit", () => reject(new Error(`Chromium ended: ${told}`)));
    });
    return new KillableBrowser(profile, process_, await chromium.connectOverCDP(address));
  }

  get context(): BrowserContext {
    const [context] = this.#browser.contexts();
    if (context === undefined) {
      throw new Error("Chromium has no context");
    }
    return context;
  }

  /** Opens the tests' page at an origin. */
  async page(origin: string): Promise<Page> {
    const page = await this.context.newPage();
    await page.goto(`${origin}/index.html`);
    await page.waitForFunction(() => window.stage !== undefined);
    return page;
  }

  /** Ends it as a power cut ends its process. The profile stays. */
  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    process.kill(-(this.#process.pid ?? 0), "SIGKILL");
    await ended;
    await this.#browser.close().catch(() => undefined);
  }

  /** Ends it and deletes its profile. */
  async close(): Promise<void> {
    await this.kill();
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
  }
}

/** A script of a worker whose clock is ahead, by milliseconds, and whose waits from a third of a second are shorter. */
export function clocked({ text, type }: Script, ahead: number, shorter: number): Script {
  const clock = `
    const [now, wait] = [Date.now, globalThis.setTimeout];
    Date.now = () => now() + ${ahead};
    globalThis.setTimeout = (run, time) => wait(run, time >= 300 ? time / ${shorter} : time);
  `;
  return { text: `{${clock}}\n${text}`, type };
}

/** The tests' page and the store's worker, by path. */
export async function pages(): Promise<Map<string, Script>> {
  const script = async (path: string): Promise<Script> => {
    const { outputFiles } = await build({ entryPoints: [join(PACKAGE, path)], bundle: true, format: "esm", write: false, logLevel: "error" });
    return { text: outputFiles[0]?.text ?? "", type: "text/javascript" };
  };
  return new Map([
    ["/index.html", { text: '<!doctype html><title>store</title><script type="module" src="page.js"></script>', type: "text/html" }],
    ["/page.js", await script("tests/store-page.ts")],
    ["/store/worker.js", await script("src/store/worker.ts")],
  ]);
}
