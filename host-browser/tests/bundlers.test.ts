/**
 * The package as its users install it: packed, taken through Vite and webpack or by Vite's development server without
 * configuration, or served as it is.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import type { Page } from "playwright-core";
import { build, createServer } from "vite";
import webpack from "webpack";

import { type Browser, launch, PACKAGE } from "./browser.ts";
import { TREE } from "./case.ts";
import { ISOLATION, type Server, serve } from "./server.ts";

/** What an application writes. */
const SCRIPT = `
import { SippClient } from "@sipp/sipp";

window.ask = async (model, wasmThreading) => {
  const client = new SippClient({ wasmThreading, threads: 2 });
  await client.add("demo", { kind: "local", source: model });
  const { text } = await client.chat([{ role: "user", content: "Hello" }], { temperature: 0 }).response;
  await client.close();
  return text;
};
window.remote = async (baseUrl) => {
  const client = new SippClient();
  await client.add("away", { kind: "gateway", target: "demo", baseUrl, retries: 0 });
  const endpoint = { kind: "gateway", id: "away" };
  return await client.chat([{ role: "user", content: "Hello" }], { endpoint }).response.then(String, (error) => error.kind);
};
`;

declare global {
  interface Window {
    ask(model: string, wasmThreading: string): Promise<string>;
    remote(baseUrl: string): Promise<string>;
  }
}

const page = (script: string): string => `<!doctype html><title>App</title><script type="module" src="${script}"></script>`;

/** An application with the package installed. Returns its folder. */
function application(): string {
  const folder = mkdtempSync(join(tmpdir(), "sipp-app-"));
  const name = execFileSync("npm", ["pack", "--silent", "--pack-destination", folder], { cwd: PACKAGE, encoding: "utf8" }).trim();
  const installed = join(folder, "node_modules/@sipp/sipp");
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["-xzf", join(folder, name), "-C", installed, "--strip-components=1"]);
  symlinkSync(join(PACKAGE, "node_modules/hash-wasm"), join(folder, "node_modules/hash-wasm"));
  writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "app", private: true, type: "module" }));
  writeFileSync(join(folder, "main.js"), SCRIPT);
  writeFileSync(join(folder, "index.html"), page("/main.js"));
  mkdirSync(join(folder, "public/models"), { recursive: true });
  copyFileSync(join(TREE, "models/demo.gguf"), join(folder, "public/models/demo.gguf"));
  return folder;
}

/** Serves what a bundler made of an application, and its model. */
async function served(folder: string, made: string): Promise<Server> {
  return await serve({ "/models": join(folder, "public/models"), "": made });
}

/** Bundlers rename files and keep their kind. Vite's development server has a module of its own. */
function isEngine(url: string): boolean {
  return url.endsWith(".mjs") && !url.includes("/vite/dist/client/");
}

/** How an application in a folder gets to a browser. */
const WAYS: Readonly<Record<string, (folder: string) => Promise<Server>>> = {
  Vite: async (folder) => {
    await build({ root: folder, configFile: false, logLevel: "error" });
    return await served(folder, join(folder, "dist"));
  },
  "Vite's development server": async (folder) => {
    // The headers are those that threads need, and any free port will do.
    const server = { host: "127.0.0.1", port: 0, headers: ISOLATION };
    const vite = await createServer({ root: folder, configFile: false, logLevel: "error", server });
    await vite.listen();
    const [url] = vite.resolvedUrls?.local ?? [];
    return { origin: new URL(url ?? "").origin, close: () => void vite.close() };
  },
  webpack: async (folder) => {
    const output = join(folder, "packed");
    const compiler = webpack({ mode: "production", context: folder, entry: "./main.js", output: { path: output } });
    const stats = await new Promise<webpack.Stats | undefined>((resolve, reject) =>
      compiler?.run((error, stats) => (error ? reject(error) : resolve(stats))),
    );
    assert.deepEqual(stats?.toJson({ all: false, errors: true, warnings: true }).errors, []);
    writeFileSync(join(output, "index.html"), page("./main.js"));
    return await served(folder, output);
  },
  "a static server": async (folder) => {
    const output = join(folder, "static");
    cpSync(join(folder, "node_modules/@sipp/sipp/dist"), join(output, "sipp"), { recursive: true });
    writeFileSync(join(output, "main.js"), SCRIPT.replace("@sipp/sipp", "./sipp/index.js"));
    writeFileSync(join(output, "index.html"), page("./main.js"));
    return await served(folder, output);
  },
};

describe("the package in an application", () => {
  let browser: Browser;
  let app: string;

  before(async () => {
    app = application();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    rmSync(app, { recursive: true, force: true });
  });

  for (const [name, make] of Object.entries(WAYS)) {
    describe(`through ${name}`, () => {
      let server: Server;
      let page: Page;
      const asked: string[] = [];

      before(async () => {
        server = await make(app);
        page = await browser.context.newPage();
        page.on("request", (request) => asked.push(request.url()));
        await page.goto(`${server.origin}/index.html`);
        await page.waitForFunction(() => window.ask !== undefined);
      });
      after(async () => {
        await page?.close();
        server?.close();
      });

      test("a remote endpoint loads no engine", { timeout: 60_000 }, async () => {
        // Nobody answers there.
        assert.equal(await page.evaluate((origin) => window.remote(origin), server.origin), "upstream");
        assert.ok(asked.some((url) => url.endsWith(".wasm")), "the client is a component");
        assert.deepEqual(asked.filter(isEngine), []);
      });

      for (const threading of ["single", "threads"]) {
        test(`a local model answers, ${threading}`, { timeout: 120_000 }, async () => {
          const answer = page.evaluate(([model, threading]) => window.ask(model ?? "", threading ?? ""), [`${server.origin}/models/demo.gguf`, threading]);
          assert.equal(await answer, "Hello! How can I help you?");
          assert.ok(asked.some(isEngine), "the engine is a module");
        });
      }
    });
  }
});
