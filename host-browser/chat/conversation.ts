/**
 * The conversation as it is shown: questions, and answers that grow.
 *
 * An answer is drawn once a frame at most, however many tokens came, and only its last block is drawn again. A page that
 * nobody looks at has no frames, and then draws nothing.
 */

import { Markdown } from "./markdown.ts";
import { button, piece } from "./parts.ts";
import { Speech } from "./speech.ts";
import type { Trouble } from "./wording.ts";

/** The list of messages. */
export class Conversation {
  readonly #list: HTMLElement;
  readonly #view: HTMLElement;
  readonly #spoken: HTMLElement;
  /** Whether the reader is at the end, and so wants to see what comes. */
  #follows = true;

  constructor(list: HTMLElement, view: HTMLElement, end: HTMLElement, spoken: HTMLElement) {
    this.#list = list;
    this.#view = view;
    this.#spoken = spoken;
    const watch = new IntersectionObserver(([entry]) => (this.#follows = entry?.isIntersecting ?? true), {
      root: view,
      rootMargin: "0px 0px 96px 0px",
    });
    watch.observe(end);
  }

  /** Shows a question. */
  question(text: string): void {
    const body = piece("div", "body", text);
    this.#list.append(piece("li", "question", piece("h2", "visually-hidden", "You"), body));
    this.#follows = true;
    this.#toEnd();
  }

  /** Makes room for an answer. */
  answer(model: string): AnswerView {
    const view = new AnswerView(model, new Speech(this.#spoken), () => this.#toEnd());
    this.#list.append(view.element);
    this.#toEnd();
    return view;
  }

  /** Takes everything away. */
  clear(): void {
    this.#list.replaceChildren();
    this.#spoken.replaceChildren();
    this.#follows = true;
  }

  #toEnd(): void {
    if (this.#follows) {
      // More than there is: asking how much there is would lay the page out twice.
      this.#view.scrollTop = 1e9;
    }
  }
}

/** An answer that grows. */
export class AnswerView {
  readonly element: HTMLLIElement;
  readonly #body = piece("div", "body");
  readonly #foot = piece("div", "foot");
  readonly #markdown = new Markdown(this.#body);
  readonly #speech: Speech;
  readonly #grown: () => void;
  #thoughts: { text: string; shown: HTMLElement } | undefined;
  #text = "";
  #frame = 0;

  constructor(model: string, speech: Speech, grown: () => void) {
    this.#speech = speech;
    this.#grown = grown;
    this.#foot.append(piece("span", "figures", "…"));
    this.element = piece("li", "answer writing", piece("h2", "by", model), this.#body, this.#foot);
    this.element.setAttribute("aria-busy", "true");
  }

  /** More text came. */
  write(text: string): void {
    this.#text += text;
    this.#speech.hear(text);
    this.#drawSoon();
  }

  /** More reasoning came, which is not part of the answer. */
  think(text: string): void {
    if (this.#thoughts === undefined) {
      const shown = piece("p");
      this.#thoughts = { text: "", shown };
      this.#body.before(piece("details", "thoughts", piece("summary", "", "Reasoning"), shown));
    }
    this.#thoughts.text += text;
    this.#drawSoon();
  }

  /** It is complete. */
  end(figures: string): void {
    this.#draw();
    this.#ended();
    const copied = button("Copy", "quiet", () => {
      navigator.clipboard.writeText(this.#text).then(
        () => (copied.textContent = "Copied"),
        () => (copied.textContent = "Not allowed"),
      );
    });
    this.#foot.replaceChildren(piece("span", "figures", figures), ...(this.#text === "" ? [] : [copied]));
    this.#speech.end(this.#text === "" ? "The answer is empty" : "");
    this.#grown();
  }

  /** It failed; `again` asks once more. */
  fail({ what, todo }: Trouble, again: () => void): void {
    this.#draw();
    this.#ended();
    this.element.classList.add("failed");
    this.#foot.replaceChildren(piece("span", "", piece("strong", "", what), ` ${todo}`), button("Ask again", "quiet", again));
    this.#speech.end(`${what} ${todo}`);
    this.#grown();
  }

  #ended(): void {
    this.element.classList.remove("writing");
    this.element.removeAttribute("aria-busy");
  }

  #drawSoon(): void {
    if (this.#frame === 0) {
      this.#frame = requestAnimationFrame(() => this.#draw());
    }
  }

  #draw(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    this.#markdown.show(this.#text);
    if (this.#thoughts !== undefined) {
      this.#thoughts.shown.textContent = this.#thoughts.text;
    }
    this.#grown();
  }
}
