/**
 * The components, instantiated: the same bytes as on every other host, transpiled by jco.
 *
 * They are loaded when they are first needed, compiled once, and instantiated as often as somebody asks.
 */

import type * as clientComponent from "../generated/client/client.js";
import type * as adapterComponent from "../generated/openai/openai.js";
import type { Clock } from "./clock.ts";
import { SippError } from "./error.ts";
import { compile } from "./platform.ts";

/** What the client component imports. jco's code asks for names without versions, which its types have. */
export type ClientImports = Unversioned<clientComponent.ImportObject, "sipp:host/endpoints">;
/** What an adapter imports. */
export type AdapterImports = Unversioned<
  adapterComponent.ImportObject,
  "sipp:inference/endpoint" | "wasi:http/client" | "wasi:http/types"
>;

type Unversioned<Imports, Name extends string> = {
  [Key in keyof Imports as Key extends `${infer Bare}@${string}` ? (Bare extends Name ? Bare : never) : never]: Imports[Key];
};

/** What the client component exports. */
export type ClientExports = clientComponent.Root;
/** What an adapter exports. */
export type AdapterExports = adapterComponent.Root;

/** Adapters that come with this package, by the name of their component. */
export type AdapterName = "anthropic" | "gateway" | "openai";

/** Where each core module lies; written out, so that bundlers find the files. */
const CORES: Readonly<Record<string, () => URL>> = {
  "anthropic.core.wasm": () => new URL("./components/anthropic.core.wasm", import.meta.url),
  "anthropic.core2.wasm": () => new URL("./components/anthropic.core2.wasm", import.meta.url),
  "anthropic.core3.wasm": () => new URL("./components/anthropic.core3.wasm", import.meta.url),
  "client.core.wasm": () => new URL("./components/client.core.wasm", import.meta.url),
  "client.core2.wasm": () => new URL("./components/client.core2.wasm", import.meta.url),
  "client.core3.wasm": () => new URL("./components/client.core3.wasm", import.meta.url),
  "gateway.core.wasm": () => new URL("./components/gateway.core.wasm", import.meta.url),
  "gateway.core2.wasm": () => new URL("./components/gateway.core2.wasm", import.meta.url),
  "gateway.core3.wasm": () => new URL("./components/gateway.core3.wasm", import.meta.url),
  "openai.core.wasm": () => new URL("./components/openai.core.wasm", import.meta.url),
  "openai.core2.wasm": () => new URL("./components/openai.core2.wasm", import.meta.url),
  "openai.core3.wasm": () => new URL("./components/openai.core3.wasm", import.meta.url),
};

const compiled = new Map<string, Promise<WebAssembly.Module>>();

/** Instantiates the client component, which `clock` drives. */
export async function instantiateClient(imports: ClientImports, clock: Clock): Promise<ClientExports> {
  needJspi();
  const { instantiate } = await import("../generated/client/client.js");
  return await instantiate(core, { ...imports, "sipp:clock": clock } as never);
}

/** Instantiates an adapter, which `clock` drives: it is dropped when that stops. */
export async function instantiateAdapter(name: AdapterName, imports: AdapterImports, clock: Clock): Promise<AdapterExports> {
  needJspi();
  const { instantiate } = await ADAPTERS[name]();
  return await instantiate(core, { ...imports, "sipp:clock": clock } as never);
}

const ADAPTERS = {
  anthropic: () => import("../generated/anthropic/anthropic.js"),
  gateway: () => import("../generated/gateway/gateway.js"),
  openai: () => import("../generated/openai/openai.js"),
} as const;

function core(path: string): Promise<WebAssembly.Module> {
  let module = compiled.get(path);
  if (module === undefined) {
    const url = CORES[path];
    if (url === undefined) {
      throw new SippError("internal", `the package holds no ${path}`);
    }
    module = compile(url());
    compiled.set(path, module);
    // A failure may be the network's, and pass.
    module.catch(() => compiled.delete(path));
  }
  return module;
}

/** Components wait inside of calls, for which the engine must suspend WebAssembly. */
function needJspi(): void {
  if (!("Suspending" in WebAssembly) || !("promising" in WebAssembly)) {
    throw new SippError(
      "jspi-missing",
      "this environment lacks WebAssembly's promise integration (JSPI); Chrome and Edge have it from 137, Firefox from " +
        "153, Node.js 24 with --experimental-wasm-jspi",
    );
  }
}
