/**
 * The chat page: somebody who answers, a conversation, and what holds them together.
 *
 * It uses the package as any page would, through its public interface, and so is its first example too.
 */

import { type EndpointRef, type LoadProgress, type Message, SippClient, type TextRun } from "../src/index.ts";
import { type AnswerView, Conversation } from "./conversation.ts";
import { Models } from "./models.ts";
import { button, part, piece } from "./parts.ts";
import { Settings } from "./settings.ts";
import { about, type Choice, THREADS } from "./sources.ts";
import { figures, progressText, size, trouble } from "./wording.ts";

/** Questions to begin with. */
const IDEAS = ["What is 3 plus 4?", "What is the opposite of hot?", "Say hello."];

/** The one endpoint: another choice takes its place. */
const ENDPOINT = "chat";

class Page {
  readonly #client = new SippClient();
  readonly #settings = new Settings();
  readonly #models = new Models({
    client: this.#client,
    current: () => this.#open?.choice,
    choose: (choice) => this.#use(choice),
    fail: (error) => this.#trouble(error),
    say: (text) => this.#say(text),
  });
  readonly #conversation = new Conversation(
    part("messages", HTMLElement),
    part("conversation", HTMLElement),
    part("end", HTMLElement),
    part("spoken", HTMLElement),
  );
  readonly #question = part("question", HTMLTextAreaElement);
  readonly #send = part("send", HTMLButtonElement);
  readonly #note = part("note", HTMLElement);
  readonly #clear = part("clear", HTMLButtonElement);
  /** What was said, as the model gets it. */
  #messages: Message[] = [];
  #open: { choice: Choice; endpoint: EndpointRef } | undefined;
  #loading: AbortController | undefined;
  /** Settles with the last load, however it ended. */
  #settled: Promise<void> = Promise.resolve();
  #run: TextRun | undefined;

  constructor() {
    part("ask", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#run === undefined ? this.#ask() : this.#run.cancel();
    });
    this.#question.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (this.#run === undefined) {
          this.#ask();
        }
      }
    });
    this.#question.addEventListener("input", () => this.#update());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && document.querySelector("dialog[open]") === null) {
        this.#run?.cancel();
      }
    });
    this.#clear.addEventListener("click", () => this.#forget());
    part("load-cancel", HTMLButtonElement).addEventListener("click", () => this.#loading?.abort());
    part("trouble-close", HTMLButtonElement).addEventListener("click", () => this.#calm());
    this.#takeDrops();
    part("ideas", HTMLElement).append(
      ...IDEAS.map((idea) =>
        button(idea, "", () => {
          this.#question.value = idea;
          this.#ask();
        }),
      ),
    );
  }

  /** Offers what there is to begin with. */
  async begin(): Promise<void> {
    const { here, there } = await this.#models.learn(await about());
    const way = (title: string, detail: string, press: () => void): HTMLElement => {
      const made = button("", "way", press);
      made.append(piece("strong", "", title), piece("small", "", detail));
      return made;
    };
    const ways = here.slice(0, 2).map((choice) => {
      const bytes = choice.bytes === undefined ? "" : `${size(choice.bytes)}, `;
      const detail = this.#models.has(choice.name) ? "stored, in this browser" : `${bytes}runs in this browser`;
      return way(choice.name, detail, () => this.#use(choice));
    });
    ways.push(...there.slice(0, 1).map((choice) => way(choice.name, choice.place, () => this.#use(choice))));
    ways.push(way("Another model", "a file, an address or a gateway", () => this.#models.open()));
    part("ways", HTMLElement).replaceChildren(...ways);
  }

  #use(choice: Choice): void {
    this.#loading?.abort();
    this.#run?.cancel();
    this.#calm();
    const loading = new AbortController();
    this.#loading = loading;
    // One after the other: a load that was given up must not take the place of the one that followed.
    this.#settled = this.#settled.then(() => this.#load(choice, loading));
  }

  async #load(choice: Choice, loading: AbortController): Promise<void> {
    if (this.#loading !== loading) {
      return;
    }
    const bar = part("load-bar", HTMLProgressElement);
    const text = part("load-text", HTMLElement);
    const show = (progress?: LoadProgress): void => {
      if (this.#loading !== loading) {
        return;
      }
      text.textContent = progressText(choice.name, progress);
      if (progress?.percent === undefined || progress.percent === null) {
        bar.removeAttribute("value");
      } else {
        bar.value = progress.percent;
      }
    };
    show();
    const before = this.#open;
    this.#open = undefined;
    this.#update();
    this.#say(`Loading ${choice.name}`);
    try {
      // Two models at once may be more memory than a phone has.
      if (before !== undefined) {
        await this.#client.remove(before.endpoint);
      }
      const { descriptor } = choice;
      const watched = descriptor.kind === "local" ? { ...descriptor, onProgress: show, signal: loading.signal } : descriptor;
      const endpoint = await this.#client.add(ENDPOINT, watched);
      if (this.#loading !== loading) {
        return;
      }
      this.#open = { choice, endpoint };
      this.#say(`${choice.name} is ready`);
      this.#question.focus();
    } catch (error) {
      if (!loading.signal.aborted) {
        this.#trouble(error);
      }
    } finally {
      if (this.#loading === loading) {
        this.#loading = undefined;
      }
      this.#update();
    }
  }

  #ask(): void {
    const text = this.#question.value.trim();
    if (text === "" || this.#open === undefined || this.#run !== undefined) {
      return;
    }
    this.#calm();
    this.#question.value = "";
    this.#conversation.question(text);
    this.#messages.push({ role: "user", content: text });
    void this.#answer();
  }

  /** Answers the last question. */
  async #answer(): Promise<void> {
    const open = this.#open;
    if (open === undefined) {
      return;
    }
    const view = this.#conversation.answer(open.choice.name);
    const { system, options } = this.#settings;
    const messages: Message[] = system === "" ? this.#messages : [{ role: "system", content: system }, ...this.#messages];
    const begun = performance.now();
    const run = this.#client.chat(messages, { ...options, endpoint: open.endpoint, stream: true });
    this.#run = run;
    this.#update();
    try {
      const first = await this.#read(run, view, begun);
      const response = await run.response;
      view.end(figures(response, first, performance.now() - begun));
      if (response.text.trim() === "") {
        // Nothing to go on from: the next question begins where this one did.
        this.#messages.pop();
      } else {
        this.#messages.push(response.message);
      }
    } catch (error) {
      view.fail(trouble(error), () => {
        view.element.remove();
        void this.#answer();
      });
    } finally {
      this.#run = undefined;
      this.#update();
    }
  }

  /** Shows what comes, and returns when the first of it came, in milliseconds from the question. */
  async #read(run: TextRun, view: AnswerView, begun: number): Promise<number | undefined> {
    let first: number | undefined;
    for await (const { delta } of run.tokens) {
      first ??= performance.now() - begun;
      if (delta.tag === "text") {
        view.write(delta.val);
      } else if (delta.tag === "reasoning") {
        view.think(delta.val.text);
      }
    }
    return first;
  }

  #forget(): void {
    this.#run?.cancel();
    this.#messages = [];
    this.#conversation.clear();
    this.#calm();
    this.#update();
    this.#say("The conversation is cleared");
    this.#question.focus();
  }

  /** Brings everything that depends on the state in line with it. */
  #update(): void {
    const open = this.#open;
    const [loads, runs] = [this.#loading !== undefined, this.#run !== undefined];
    const talks = part("messages", HTMLElement).childElementCount > 0;
    part("model-name", HTMLElement).textContent = open?.choice.name ?? (loads ? "loading" : "choose one");
    part("open-models", HTMLButtonElement).dataset.state = open === undefined ? (loads ? "loading" : "none") : "ready";
    part("loading", HTMLElement).hidden = !loads;
    part("empty", HTMLElement).hidden = talks;
    part("ways", HTMLElement).hidden = open !== undefined || loads;
    part("ideas", HTMLElement).hidden = open === undefined;
    part("invitation", HTMLElement).textContent =
      open === undefined
        ? "Choose who answers. A model can run right here, in this browser: then nothing you write leaves it."
        : `${open.choice.name} is ready, ${open.choice.place}. Ask it something.`;
    this.#note.textContent =
      open === undefined
        ? "Enter sends, Shift and Enter begin a new line."
        : open.choice.here
          ? `In this browser, ${THREADS === 1 ? "one thread" : `up to ${THREADS} threads`}. Nothing leaves it.`
          : `Runs ${open.choice.place}.`;
    this.#clear.disabled = !talks;
    this.#send.textContent = runs ? "Stop" : "Send";
    this.#send.classList.toggle("stop", runs);
    this.#send.disabled = !runs && (open === undefined || this.#question.value.trim() === "");
  }

  #trouble(error: unknown): void {
    const { what, todo } = trouble(error);
    part("trouble-what", HTMLElement).textContent = what;
    part("trouble-todo", HTMLElement).textContent = todo;
    part("trouble", HTMLElement).hidden = false;
  }

  #calm(): void {
    part("trouble", HTMLElement).hidden = true;
  }

  #say(text: string): void {
    part("status", HTMLElement).textContent = text;
  }

  #takeDrops(): void {
    const drop = part("drop", HTMLElement);
    const holdsFiles = (event: DragEvent): boolean => event.dataTransfer?.types.includes("Files") === true;
    document.addEventListener("dragover", (event) => {
      if (holdsFiles(event)) {
        event.preventDefault();
        drop.hidden = false;
      }
    });
    document.addEventListener("dragleave", (event) => {
      if (event.relatedTarget === null) {
        drop.hidden = true;
      }
    });
    document.addEventListener("drop", (event) => {
      drop.hidden = true;
      const files = [...(event.dataTransfer?.files ?? [])];
      if (files.length > 0) {
        event.preventDefault();
        this.#models.take(files);
      }
    });
  }
}

await new Page().begin();
