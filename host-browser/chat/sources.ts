/**
 * Where answers can come from: models that this browser can run, and targets of a gateway.
 */

import type { Descriptor, InstalledModel, ModelSource } from "../src/index.ts";

/** Somebody to ask. */
export interface Choice {
  /** As it is shown. */
  readonly name: string;
  /** Where it runs, as it is shown. */
  readonly place: string;
  /** Whether nothing leaves this browser. */
  readonly here: boolean;
  /** Its size, where that is known. */
  readonly bytes?: number;
  /** What the client opens. */
  readonly descriptor: Descriptor;
}

/** What the gateway that serves this page tells of itself. */
export interface About {
  /** Where its routes are, from the page. */
  readonly base: string;
  /** Models that it has for browsers. */
  readonly models: readonly { readonly file: string; readonly bytes: number }[];
}

/** What a gateway's list of models holds. */
interface Listed {
  readonly data: readonly { readonly id: string; readonly operations?: readonly string[] }[];
}

/** Where this page is. */
const PAGE = document.baseURI;

/** Threads that the engine may use here. */
export const THREADS = globalThis.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency, 8) : 1;

/** What the gateway behind this page tells; nothing, where only files are served. */
export async function about(): Promise<About | undefined> {
  try {
    const response = await fetch(new URL("gateway.json", PAGE));
    return response.ok ? ((await response.json()) as About) : undefined;
  } catch {
    return undefined;
  }
}

/** A model of the page's own gateway, run here. */
export function offered({ file, bytes }: About["models"][number]): Choice {
  return { ...here(file, new URL(`models/${encodeURIComponent(file)}`, PAGE)), bytes };
}

/** A model by its address, run here. */
export function ofAddress(address: string): Choice {
  const url = new URL(address, PAGE);
  return here(decodeURIComponent(url.pathname.split("/").at(-1) ?? "") || url.host, url);
}

/** Files of this device, run here. */
export function ofFiles(files: readonly File[]): Choice {
  const [first] = files;
  if (first === undefined) {
    throw new Error("no file was chosen");
  }
  const sorted = files.toSorted((one, other) => one.name.localeCompare(other.name));
  return here(sorted[0]?.name ?? first.name, files.length === 1 ? first : sorted);
}

/** A stored model, run here. */
export function ofStored(model: InstalledModel): Choice {
  return { ...here(model.name, model.id), bytes: model.bytes };
}

function here(name: string, source: ModelSource): Choice {
  return { name, place: "in this browser", here: true, descriptor: { kind: "local", source } };
}

/** A target of a gateway. */
export function ofGateway(target: string, baseUrl: string, token: string): Choice {
  const authentication = token === "" ? undefined : ({ type: "bearer", value: token } as const);
  const url = new URL(baseUrl);
  const place = url.origin === location.origin ? "on this gateway" : `on ${url.host}`;
  return { name: target, place, here: false, descriptor: { kind: "gateway", target, baseUrl, authentication } };
}

/** The targets of a gateway that can chat. A message of the failure is for people. */
export async function targets(base: string, token: string): Promise<string[]> {
  const headers = token === "" ? undefined : { authorization: `Bearer ${token}` };
  const response = await fetch(new URL("v1/models", base.endsWith("/") ? base : `${base}/`), { headers }).catch(() => undefined);
  if (response === undefined) {
    throw new Error("It cannot be reached. Check that it runs; one of another site must allow this page (CORS).");
  }
  if (response.status === 401) {
    throw new Error(token === "" ? "It asks for a token." : "It does not know this token.");
  }
  if (!response.ok) {
    throw new Error(`It answered ${response.status}: is there a Sipp gateway at this address?`);
  }
  const { data } = (await response.json()) as Listed;
  return data.filter((one) => one.operations?.includes("chat") ?? true).map((one) => one.id);
}

/** How this browser computes. */
export function backend(): string {
  const threads = globalThis.crossOriginIsolated
    ? `on up to ${THREADS} processor threads`
    : "on one processor thread, because this page was served without the headers that isolate it";
  return `Models run ${threads}. WebGPU is not used yet.`;
}
