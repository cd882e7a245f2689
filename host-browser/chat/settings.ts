/**
 * What the next answer is asked with: a system prompt and sampling. It stays in this browser.
 */

import type { TextCallOptions } from "../src/index.ts";
import { part } from "./parts.ts";

const KEY = "sipp-chat-settings";

/** The fields of the form, by the name under which they are kept. */
const FIELDS = { temperature: "temperature", topP: "top-p", maxTokens: "max-tokens" } as const;

/** The settings dialog. */
export class Settings {
  readonly #dialog = part("settings", HTMLDialogElement);
  readonly #system = part("system", HTMLTextAreaElement);
  readonly #numbers = Object.entries(FIELDS).map(([name, id]) => [name, part(id, HTMLInputElement)] as const);

  constructor() {
    this.#read();
    part("open-settings", HTMLButtonElement).addEventListener("click", () => this.#dialog.showModal());
    this.#dialog.addEventListener("change", () => this.#keep());
  }

  /** The system prompt; empty, if there is none. */
  get system(): string {
    return this.#system.value.trim();
  }

  /** What is set; what is empty or out of range is left to the model. */
  get options(): TextCallOptions {
    const set = this.#numbers.filter(([, field]) => field.value !== "" && field.validity.valid);
    return Object.fromEntries(set.map(([name, field]) => [name, field.valueAsNumber]));
  }

  #read(): void {
    const kept: unknown = JSON.parse(stored(KEY) ?? "{}");
    const values = new Map(Object.entries(typeof kept === "object" && kept !== null ? kept : {}));
    this.#system.value = String(values.get("system") ?? "");
    for (const [name, field] of this.#numbers) {
      field.value = String(values.get(name) ?? "");
    }
  }

  #keep(): void {
    const values = Object.fromEntries(this.#numbers.map(([name, field]) => [name, field.value]));
    try {
      localStorage.setItem(KEY, JSON.stringify({ ...values, system: this.#system.value }));
    } catch {
      // A browser that keeps nothing forgets them with the page; they hold all the same.
    }
  }
}

function stored(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
