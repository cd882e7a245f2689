/**
 * A host without models: its endpoints answer with what reached them. `tests/cases/README.md` describes it.
 */

import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import { Answer } from "../src/channel.ts";
import type { Answerer } from "../src/switchboard.ts";

/** Opens every descriptor but those whose model or target is called `broken`. */
export async function openStandIn(_: string, descriptor: endpoints.Descriptor): Promise<Answerer> {
  const name = descriptor.tag === "gateway" ? descriptor.val.target : descriptor.val.model;
  if (name === "broken") {
    throw { tag: "model", val: { fault: "not-found", message: "there is no file broken" } } satisfies types.Error;
  }
  const can = (yes: boolean): endpoints.Support => (yes ? "supported" : "unsupported");
  const embeds = descriptor.tag === "local" && descriptor.val.context.embeddings === true;
  const capabilities: endpoints.Capabilities =
    descriptor.tag === "local"
      ? { query: can(!embeds), chat: can(!embeds), embed: can(embeds) }
      : { query: "unknown", chat: "unknown", embed: "unknown" };
  return { capabilities, generate: async (request) => generate(name, request), embed, close: () => undefined };
}

function generate(name: string, { input, extensions, context }: types.Request): Answer {
  const asked = input.tag === "prompt" ? input.val : input.val.flatMap(({ content }) => content).map(text).join(" | ");
  const fields = extensions.map((extension) => ` [${extension.name}=${extension.value}]`).join("");
  const answer = new Answer(() => undefined);
  answer.push({ delta: { tag: "text", val: `${name}: ${asked}${fields}` }, sequence: 0, tokens: 1, logprobs: [] });
  answer.finish({ tag: "ok", val: { finish: "stop", metadata: metadata(context) } });
  return answer;
}

async function embed({ inputs, normalize, context }: types.EmbedRequest): Promise<types.Embedding> {
  const length = (input: string): number => new TextEncoder().encode(input).length;
  const vectors = inputs.map((input) => Float32Array.of(length(input)));
  return { vectors, normalized: normalize, metadata: metadata(context) };
}

function text(part: types.Part): string {
  switch (part.tag) {
    case "text":
      return part.val;
    case "reasoning":
      return part.val.text;
    case "media":
      return part.val.mimeType;
    case "tool-call":
      return part.val.name;
    case "tool-result":
      return part.val.content;
  }
}

function metadata({ requestId }: types.Context): types.Metadata {
  return { requestId, retries: 0 };
}
