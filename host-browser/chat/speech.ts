/**
 * Says an answer to a screen reader, sentence by sentence.
 *
 * A live region that changed with every token would be read as a stutter, or not at all; one that only changes at the
 * end would keep its listener waiting.
 */

import { piece } from "./parts.ts";

/** The end of a sentence or of a line, with more text behind it. */
const END = /[.!?…:]["'”’)\]]*\s|\n/g;

/** Marks of Markdown that are not to be read out. */
const MARKS = /^[#>\s]+|[*_`]+/gm;

/** How long sentences are gathered, in milliseconds. */
const PAUSE = 1000;

/** One answer, spoken. */
export class Speech {
  readonly #region: HTMLElement;
  #unsaid = "";
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(region: HTMLElement) {
    this.#region = region;
  }

  /** More text came. */
  hear(text: string): void {
    this.#unsaid += text;
    this.#timer ??= setTimeout(() => this.#say(), PAUSE);
  }

  /** Nothing more comes; says what is left, and `last`. */
  end(last: string): void {
    clearTimeout(this.#timer);
    this.#put(this.#unsaid);
    this.#put(last);
    this.#unsaid = "";
  }

  #say(): void {
    this.#timer = undefined;
    const cut = [...this.#unsaid.matchAll(END)].at(-1);
    if (cut === undefined) {
      return;
    }
    const complete = cut.index + cut[0].length;
    this.#put(this.#unsaid.slice(0, complete));
    this.#unsaid = this.#unsaid.slice(complete);
  }

  #put(text: string): void {
    const plain = text.replaceAll(MARKS, "").trim();
    if (plain !== "") {
      this.#region.append(piece("p", "", plain));
    }
  }
}
