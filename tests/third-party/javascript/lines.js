/**
 * A provider's adapter in JavaScript, for a made-up provider called `lines`: an example to copy.
 *
 * The provider takes `POST {base-url}/generate` with `{"model": …, "prompt": …}` and answers with text in which each line
 * is one token. `../README.md` says how this becomes a component, and why `wasi:` is written `host:` here. The two exports
 * are the interfaces that the contracts in `wit/` ask for; a function that may fail there throws here, with the contract's
 * error as the thrown value. `wit` is a global of the toolchain, which makes streams and futures; what is not dropped here
 * stays open as long as the instance lives.
 */
import client from "host:http/client@0.3.0";
import http from "host:http/types@0.3.0";
import endpoint from "sipp:inference/endpoint@0.1.0";

const PROVIDER = "lines";

export const adapter = {
  /** Says where the credential goes. The host puts it there: an adapter never sees a secret. */
  describe() {
    const credential = { name: "authorization", prefix: "Bearer " };
    return [{ provider: PROVIDER, baseUrl: null, credential, operations: ["query", "chat"] }];
  },
};

export const inference = {
  /** Returns when the provider's status is known; the tokens follow in the stream. */
  async generate({ input, context }) {
    const { baseUrl, model } = endpoint.get();
    const response = await post(`${baseUrl}/generate`, { model, prompt: prompt(input) });
    const status = response.getStatusCode();
    const [body, end] = http.Response.consumeBody(response, said("RESULT_VOID_ERROR_CODE", { tag: "ok" }));
    if (status !== 200) {
      end.drop();
      throw upstream(fault(status), status, (await Array.fromAsync(lines(body))).join("\n"));
    }

    const answer = { count: 0, complete: false };
    const tokens = wit.Stream.from(batches(body, answer), wit.Stream.TOKEN_BATCH);
    const outcome = tokens.completion.then(() => conclude(answer, end, context.requestId));
    return { tokens: tokens.readable, outcome: said("RESULT_OUTCOME_ERROR", outcome) };
  },

  async embed() {
    const reason = `${PROVIDER} writes text only; ask another provider for vectors`;
    throw { tag: "unsupported", val: { operation: "embed", endpoint: null, reason } };
  },
};

/** One batch for each line, when it has come. Ends early when the caller drops the stream. */
async function* batches(body, answer) {
  for await (const line of lines(body)) {
    yield { delta: { tag: "text", val: `${line} ` }, sequence: answer.count, tokens: 1, logprobs: [] };
    answer.count += 1;
  }
  answer.complete = true;
}

/** How the answer ended: `end` knows whether the body arrived whole. */
async function conclude(answer, end, requestId) {
  const broken = answer.complete ? await end.read() : null;
  end.drop();
  if (broken?.tag === "err") {
    return { tag: "err", val: upstream("transport", 200, `the answer broke off: ${broken.val.tag}`) };
  }
  const none = { inputTokens: null, cachedTokens: null, cacheWriteTokens: null, reasoningTokens: null };
  const metadata = { requestId, upstreamRequestId: null, upstreamResponseId: null, retries: 0 };
  const finish = answer.complete ? "stop" : "cancelled";
  return { tag: "ok", val: { finish, usage: { ...none, outputTokens: answer.count }, stats: null, metadata } };
}

/** The raw prompt, or the text of the last user's message: `lines` knows no conversations. */
function prompt(input) {
  if (input.tag === "prompt") return input.val;
  const spoken = input.val.findLast((message) => message.role === "user");
  if (!spoken) throw { tag: "invalid-request", val: "the conversation has no user message; add one" };
  return spoken.content.map((part) => (part.tag === "text" ? part.val : "")).join("");
}

/** Sends JSON and gives the response once its headers have come. */
async function post(url, json) {
  const [, scheme, authority, path] = url.match(/^(https?):\/\/([^/]+)(.*)$/);
  const escape = (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;
  const body = JSON.stringify(json).replace(/[^\x00-\x7f]/g, escape);
  const headers = http.Fields.fromList([["content-type", ascii("application/json")]]);
  const trailers = said("RESULT_OPTION_OTHER_ERROR_CODE", { tag: "ok", val: null });
  const [request, sent] = http.Request.new(headers, [ascii(body)], trailers, null);
  sent.drop();
  request.setMethod({ tag: "post" });
  request.setScheme({ tag: scheme.toUpperCase() });
  request.setAuthority(authority);
  request.setPathWithQuery(path);
  try {
    return await client.send(request);
  } catch (error) {
    throw upstream("transport", null, `no answer: ${error.payload.tag}`);
  }
}

/** The lines of a body, each as soon as it has come. Bytes stay percent-encoded until a line, and so its text, is whole. */
async function* lines(body) {
  let rest = "";
  try {
    for await (const chunk of body) {
      const encoded = Array.from(chunk, (byte) => `%${byte.toString(16).padStart(2, "0")}`);
      const whole = (rest + encoded.join("")).split("%0a");
      rest = whole.pop();
      yield* whole.map(decoded);
    }
    if (rest) yield decoded(rest);
  } finally {
    body.drop();
  }
}

/** Text of bytes: UTF-8, or Latin-1 where they are none. The engine has no `TextDecoder`. */
function decoded(bytes) {
  try {
    return decodeURIComponent(bytes);
  } catch {
    return unescape(bytes);
  }
}

const ascii = (text) => Uint8Array.from(text, (unit) => unit.charCodeAt(0));

/** A future that says `value`, once that is known. `Object.keys(wit.Future.types)` are the types that there are. */
const said = (type, value) => wit.Future.from(value, wit.Future[type]).readable;

function fault(status) {
  const known = { 401: "authentication", 429: "rate-limited" };
  return known[status] ?? (status >= 500 ? "overloaded" : "provider");
}

const upstream = (fault, status, message) => ({
  tag: "upstream",
  val: { fault, provider: PROVIDER, status, code: null, message, retryAfter: null, requestId: null },
});
