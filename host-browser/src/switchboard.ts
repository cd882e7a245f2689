/**
 * The switchboard: opens what a descriptor names and hands requests to it.
 *
 * It implements `sipp:host/endpoints`, which the client component imports. Here is the only fork: from an endpoint to who
 * answers. Answers do not pass through the component: reading a stream there costs milliseconds for each item, and one
 * instance's stream cannot be given to another. The component hands on a stream that is empty, and whoever called takes
 * the answer by the number of the call.
 */

import type * as endpoints from "../generated/client/interfaces/sipp-host-endpoints.js";
import type * as types from "../generated/client/interfaces/sipp-inference-types.js";
import type { Answer } from "./channel.ts";
import { Clock } from "./clock.ts";
import { SippError, toContract } from "./error.ts";

/** What answers behind an endpoint. */
export interface Answerer {
  /** What it can do. */
  readonly capabilities: endpoints.Capabilities;
  /** Answers a request for text. A failure before the first token is thrown, a later one ends the answer. */
  generate(request: types.Request, signal: AbortSignal): Promise<Answer>;
  /** Answers a request for vectors. */
  embed(request: types.EmbedRequest, signal: AbortSignal): Promise<types.Embedding>;
  /** Nobody uses it any more; what runs on it may end. */
  close(): void;
}

/** Opens what a descriptor names. */
export type Open = (id: string, descriptor: endpoints.Descriptor) => Promise<Answerer>;

/** A call that has no answer yet, or one that nobody took. */
interface Call {
  readonly controller: AbortController;
  answer?: Answer;
  /** What was thrown, as it was: a contract's error has no room for all of it. */
  thrown?: unknown;
}

const NOTHING: types.Outcome = { finish: "stop", metadata: { retries: 0 } };

/** The calls of one client, and what opens its endpoints. */
export class Switchboard {
  /** Drives the client component. */
  readonly clock = new Clock();
  readonly #open: Open;
  readonly #calls = new Map<number, Call>();
  #last = 0;

  constructor(open: Open) {
    this.#open = open;
  }

  /** Begins a call and names it. */
  begin(controller: AbortController): number {
    this.#last += 1;
    this.#calls.set(this.#last, { controller });
    return this.#last;
  }

  /** Ends a call: gives what came of it. */
  end(call: number): Omit<Call, "controller"> {
    const ended = this.#calls.get(call);
    this.#calls.delete(call);
    return ended ?? {};
  }

  /** What the client component imports. */
  imports(): typeof endpoints {
    const switchboard = this;
    class Endpoint {
      readonly #answerer: Answerer;

      private constructor(answerer: Answerer) {
        this.#answerer = answerer;
      }

      static async open(id: string, descriptor: endpoints.Descriptor): Promise<Endpoint> {
        return new Endpoint(await switchboard.#answered(switchboard.#open(id, descriptor)));
      }

      capabilities(): endpoints.Capabilities {
        return this.#answerer.capabilities;
      }

      async generate(request: types.Request): Promise<types.Generation> {
        const call = switchboard.#call(request.context);
        call.answer = await switchboard.#answer(call, this.#answerer.generate(request, call.controller.signal));
        return { tokens: empty(), outcome: Promise.resolve({ tag: "ok", val: NOTHING }) };
      }

      async embed(request: types.EmbedRequest): Promise<types.Embedding> {
        const call = switchboard.#call(request.context);
        return await switchboard.#answer(call, this.#answerer.embed(request, call.controller.signal));
      }

      [Symbol.dispose](): void {
        this.#answerer.close();
      }
    }
    // The generated type has no way to say that its constructor is this class's own affair.
    return { Endpoint } as unknown as typeof endpoints;
  }

  #call(context: types.Context): Call {
    const call = context.call === undefined ? undefined : this.#calls.get(context.call);
    if (call === undefined) {
      throw toContract(new SippError("internal", "the component asks for a call that nobody made"));
    }
    return call;
  }

  /** As `#answered`, for a call, which keeps what was thrown. */
  async #answer<A>(call: Call, answering: Promise<A>): Promise<A> {
    answering.catch((thrown: unknown) => {
      call.thrown = thrown;
    });
    return await this.#answered(answering);
  }

  /** What the host answers, in the contract's words where it fails. */
  async #answered<A>(answering: Promise<A>): Promise<A> {
    try {
      return await this.clock.waking(answering);
    } catch (thrown) {
      throw toContract(thrown);
    }
  }
}

async function* empty(): AsyncGenerator<types.TokenBatch> {
  // The answer is in the call; see the module's documentation.
}
