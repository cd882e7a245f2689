/**
 * A real gateway with the chat page, on loopback, with models that a page can run.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { PACKAGE } from "./browser.ts";

const TREE = join(PACKAGE, "..");
const PROGRAM = join(TREE, "target/release/sipp-gateway");

/** How long the gateway may take to load its model, in milliseconds. */
const PATIENCE = 30_000;

/** A running gateway. */
export interface Gateway {
  /** Where it listens, without a slash at the end. */
  readonly origin: string;
  /** Its folder, with the models. */
  readonly folder: string;
  close(): void;
}

/** Starts a gateway with the target `demo`, and a page that offers `demo.gguf` and `endless.gguf`. */
export async function start(): Promise<Gateway> {
  const folder = mkdtempSync(join(tmpdir(), "sipp-gateway-"));
  const demo = readFileSync(join(TREE, "models/demo.gguf"));
  writeFileSync(join(folder, "demo.gguf"), demo);
  writeFileSync(join(folder, "endless.gguf"), endless(demo));
  const [port, management] = [await freePort(), await freePort()];
  const settings = `
    public_bind = "127.0.0.1:${port}"
    management_bind = "127.0.0.1:${management}"
    [chat]
    assets = ${JSON.stringify(join(PACKAGE, "dist"))}
    models = ["demo.gguf", "endless.gguf"]
    [[targets]]
    name = "demo"
    type = "local"
    model = "demo.gguf"
    runtime.context.n_threads = 1
  `;
  writeFileSync(join(folder, "gateway.toml"), settings);
  const program = spawn(PROGRAM, ["serve", "--config", join(folder, "gateway.toml")], { stdio: ["ignore", "ignore", "pipe"] });
  const close = (): void => {
    program.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await ready(program, management);
  } catch (error) {
    close();
    throw error;
  }
  return { origin: `http://127.0.0.1:${port}`, folder, close };
}

/**
 * The demo model, whose answers never end: nothing stands for the end of a turn, and the context is long.
 *
 * In a GGUF file a key is followed by the type of its value, 4 for u32, and the value.
 */
function endless(demo: Buffer): Buffer {
  const model = Buffer.from(demo);
  const set = (key: string, value: number): void => {
    const at = model.indexOf(`${key}\u0004\0\0\0`);
    if (at < 0) {
      throw new Error(`the demo model has no ${key}`);
    }
    model.writeUInt32LE(value, at + key.length + 4);
  };
  set("llama.context_length", 16_384);
  // A token that no answer has, `^`.
  set("tokenizer.ggml.eos_token_id", 66);
  set("tokenizer.ggml.eot_token_id", 66);
  // llama.cpp knows this one by its text.
  for (let at = model.indexOf("<|end|>"); at >= 0; at = model.indexOf("<|end|>", at)) {
    model.write("<|off|>", at);
  }
  return model;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

async function ready(program: ChildProcess, management: number): Promise<void> {
  let log = "";
  program.stderr?.on("data", (text: Buffer) => (log += text.toString()));
  const until = Date.now() + PATIENCE;
  while (Date.now() < until && program.exitCode === null) {
    const response = await fetch(`http://127.0.0.1:${management}/readyz`).catch(() => undefined);
    if (response?.ok === true) {
      return;
    }
    await new Promise((later) => setTimeout(later, 50));
  }
  throw new Error(`the gateway does not start; build it with \`cargo x build native\`\n${log}`);
}
