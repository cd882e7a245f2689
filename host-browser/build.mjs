/**
 * Builds the package: components through jco, TypeScript through esbuild, types through tsc, the engine as it was linked.
 *
 * `--components` stops after the components, whose types the sources need. `cargo x build browser` runs it after it built
 * what lies in `target`.
 */

import { copyFile, cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { execFileSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { transpile } from "@bytecodealliance/jco";
import { build } from "esbuild";

const FOLDER = dirname(fileURLToPath(import.meta.url));
const TARGET = join(FOLDER, "../target");
const GENERATED = join(FOLDER, "generated");
const DIST = join(FOLDER, "dist");
const COMPONENTS = ["anthropic", "client", "gateway", "openai"];
const FLAVOURS = ["single", "threads", "memory64"];
const SCRIPTS = { bundle: true, format: "esm", target: "es2024", minify: true, sourcemap: true, logLevel: "warning" };

await components();
if (!process.argv.includes("--components")) {
  await rm(DIST, { recursive: true, force: true });
  await scripts();
  await page();
  await engine();
  await types();
}

/** Transpiles the components and gives them the package's timers. */
async function components() {
  await rm(GENERATED, { recursive: true, force: true });
  for (const name of COMPONENTS) {
    const bytes = await readFile(join(TARGET, `components/${name}.wasm`));
    const { files } = await transpile(bytes, { name, asyncMode: "jspi", instantiation: "async" });
    for (const [path, contents] of Object.entries(files)) {
      const file = join(GENERATED, name, path);
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, path === `${name}.js` ? withClock(name, Buffer.from(contents).toString()) : contents);
    }
  }
}

/** Puts a clock of `src/clock.ts` in the place of the global timers, and takes the wait out that every call begins with. */
function withClock(name, text) {
  const first = "          this.#tickLoop = null;\n        }, 10);";
  const begin = "export function instantiate(getCoreModule, imports, instantiateCore = WebAssembly.instantiate) {\n";
  if (text.split(first).length !== 2 || text.split(begin).length !== 2) {
    throw new Error(`${name}: jco's scheduler is another than the one that src/clock.ts was written for`);
  }
  return text
    .replace(first, first.replace("10", "0"))
    .replace(begin, `${begin}  const { clearTimeout, setTimeout } = imports["sipp:clock"];\n`)
    // Of a loader that is not used here: its scheme is one that bundlers for the web refuse, and for Vite's development
    // server its address is that of every file in the folder.
    .replaceAll("await import('node:fs/promises')", "undefined")
    .replaceAll("new URL(`./${name}`, import.meta.url)", "name");
}

/** Bundles the library and its workers. */
async function scripts() {
  await build({
    ...SCRIPTS,
    // Of jco's code.
    logOverride: { "duplicate-object-key": "silent" },
    entryPoints: [join(FOLDER, "src/index.ts")],
    outdir: DIST,
    splitting: true,
    chunkNames: "[name]-[hash]",
    // Chromium then compiles while it loads, on another thread, and not in the middle of a first request.
    banner: { js: "//# allFunctionsCalledOnLoad" },
  });
  for (const worker of ["engine", "store"]) {
    const entry = join(FOLDER, `src/${worker}/worker.ts`);
    // White space stays, and with it the comments that have bundlers leave an import as it is.
    const options = { ...SCRIPTS, minify: false, minifySyntax: true, minifyIdentifiers: true };
    await build({ ...options, entryPoints: [entry], outfile: join(DIST, `${worker}/worker.js`) });
  }
  await mkdir(join(DIST, "components"), { recursive: true });
  for (const name of COMPONENTS) {
    for (const file of await readdir(join(GENERATED, name))) {
      if (file.endsWith(".wasm")) {
        await copyFile(join(GENERATED, name, file), join(DIST, "components", file));
      }
    }
  }
}

/** Puts the chat page beside the library, which it loads as any other page would. */
async function page() {
  const folder = join(FOLDER, "chat");
  await build({
    ...SCRIPTS,
    entryPoints: [join(folder, "chat.ts"), join(folder, "chat.css")],
    outdir: join(DIST, "chat"),
    plugins: [
      {
        name: "library",
        setup: ({ onResolve }) => onResolve({ filter: /\/src\/index\.ts$/ }, () => ({ path: "../index.js", external: true })),
      },
    ],
  });
  await copyFile(join(folder, "icon.svg"), join(DIST, "chat/icon.svg"));
  await copyFile(join(folder, "index.html"), join(DIST, "index.html"));
}

/** Has the module start its threads from itself, whatever a bundler calls it. */
function withOwnName(script) {
  const parts = script.split('new URL("sipp-engine.mjs",import.meta.url)');
  if (parts.length !== 2) {
    throw new Error("Emscripten starts threads in another way than withOwnName was written for");
  }
  return parts.join("new URL(import.meta.url)");
}

async function engine() {
  for (const flavour of FLAVOURS) {
    const folder = join(DIST, "engine", flavour);
    await mkdir(folder, { recursive: true });
    const built = join(TARGET, "browser/engine", flavour);
    const script = await readFile(join(built, "sipp-engine.mjs"), "utf8");
    await writeFile(join(folder, "sipp-engine.mjs"), flavour !== "single" ? withOwnName(script) : script);
    await copyFile(join(built, "sipp-engine.wasm"), join(folder, "sipp-engine.wasm"));
  }
}

async function types() {
  const tsc = join(FOLDER, "node_modules/typescript/bin/tsc");
  execFileSync(process.execPath, [tsc, "--project", join(FOLDER, "tsconfig.build.json")], { stdio: "inherit" });
  // Declarations refer to the components' types by their places among the sources.
  await cp(GENERATED, join(DIST, "types/generated"), { recursive: true, filter: (file) => !/\.(js|wasm)$/.test(file) });
  await writeFile(join(DIST, "index.d.ts"), 'export * from "./types/src/index.js";\n');
}
