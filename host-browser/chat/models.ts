/**
 * The dialog in which somebody chooses who answers, and sees what is stored.
 */

import { type InstalledModel, type SippClient, SippError } from "../src/index.ts";
import { button, part, piece } from "./parts.ts";
import { type About, backend, type Choice, ofAddress, offered, ofFiles, ofGateway, ofStored, targets } from "./sources.ts";
import { size, trouble } from "./wording.ts";

/** What the dialog works with. */
export interface Surroundings {
  readonly client: SippClient;
  /** What answers now. */
  readonly current: () => Choice | undefined;
  /** Called with what was chosen. */
  readonly choose: (choice: Choice) => void;
  /** Called with what cannot be done. */
  readonly fail: (error: unknown) => void;
  /** Says something to a screen reader. */
  readonly say: (text: string) => void;
}

/** The dialog. */
export class Models {
  readonly #around: Surroundings;
  readonly #dialog = part("models", HTMLDialogElement);
  readonly #base = part("base", HTMLInputElement);
  readonly #token = part("token", HTMLInputElement);
  readonly #hint = part("gateway-hint", HTMLElement);
  /** Models that the gateway behind the page has for browsers. */
  #offers: readonly Choice[] = [];
  #stored: readonly InstalledModel[] = [];

  constructor(around: Surroundings) {
    this.#around = around;
    part("backend", HTMLElement).textContent = backend();
    part("open-models", HTMLButtonElement).addEventListener("click", () => this.open());
    this.#dialog.querySelector("[data-close]")?.addEventListener("click", () => this.#dialog.close());
    const file = part("file", HTMLInputElement);
    file.addEventListener("change", () => {
      if (file.files !== null && file.files.length > 0) {
        this.take([...file.files]);
      }
      file.value = "";
    });
    const url = part("url", HTMLInputElement);
    part("from-url", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      this.#choose(ofAddress(url.value));
    });
    part("gateway", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#list();
    });
  }

  /** Shows the dialog. */
  open(): void {
    this.#dialog.showModal();
    this.#dialog.scrollTop = 0;
    void this.refresh();
  }

  /** Learns of the gateway behind the page, and returns what the page can offer before anybody opened the dialog. */
  async learn(gateway: About | undefined): Promise<{ here: readonly Choice[]; there: readonly Choice[] }> {
    this.#offers = gateway?.models.map(offered) ?? [];
    await this.refresh();
    const names = new Set(this.#offers.map((offer) => offer.name));
    const here = [...this.#offers, ...this.#stored.filter((model) => !names.has(model.name)).map(ofStored)];
    if (gateway === undefined) {
      return { here, there: [] };
    }
    this.#base.value = new URL(gateway.base, document.baseURI).href;
    return { here, there: await this.#list() };
  }

  /** Runs files of this device. */
  take(files: readonly File[]): void {
    try {
      this.#choose(ofFiles(files));
    } catch (error) {
      this.#around.fail(error);
    }
  }

  /** Looks at what is stored again. */
  async refresh(): Promise<void> {
    const { client, current, say } = this.#around;
    const list = part("stored", HTMLElement);
    try {
      this.#stored = (await client.listLocal()).toSorted((one, other) => one.name.localeCompare(other.name));
      const { used, quota } = await client.storage();
      part("storage", HTMLElement).textContent = `This page uses ${size(used)} of ${size(quota)}.`;
    } catch {
      // Without storage nothing is stored; a load says why.
      this.#stored = [];
    }
    const remove = async (model: InstalledModel): Promise<void> => {
      try {
        await client.removeLocal(model.id);
        say(`${model.name} is deleted`);
      } catch (error) {
        const { what, todo } = trouble(error);
        // The library knows it by its id, which nobody sees here.
        const used = error instanceof SippError && error.kind === "invalid-request";
        this.#hintAt(list, used ? `${model.name} is in use, here or in another tab. Choose another model first.` : `${what} ${todo}`);
        return;
      }
      await this.refresh();
      // The button that was pressed is gone; the focus shall not be lost with it.
      (list.querySelector("button") ?? part("file", HTMLInputElement)).focus();
    };
    list.replaceChildren(
      ...this.#stored.map((model) => {
        const load = button("Load", "", () => this.#choose(ofStored(model)));
        const gone = button("Delete", "quiet", () => void remove(model));
        load.setAttribute("aria-label", `Load ${model.name}`);
        gone.setAttribute("aria-label", `Delete ${model.name}`);
        const used = current();
        const isUsed = used?.here === true && used.name === model.name;
        return isUsed ? row(model.name, `${size(model.bytes)}, answers now`, gone) : row(model.name, size(model.bytes), load, gone);
      }),
    );
    part("stored-part", HTMLElement).hidden = this.#stored.length === 0;
    const offers = this.#offers.filter((offer) => !this.has(offer.name));
    part("offers", HTMLElement).replaceChildren(
      ...offers.map((offer) => {
        const load = button("Load", "", () => this.#choose(offer));
        load.setAttribute("aria-label", `Load ${offer.name}`);
        return row(offer.name, `${size(offer.bytes ?? 0)}, of this gateway`, load);
      }),
    );
  }

  /** Whether a file of this name is stored. */
  has(name: string): boolean {
    return this.#stored.some((model) => model.name === name);
  }

  #hintAt(list: HTMLElement, text: string): void {
    list.querySelector(".hint")?.remove();
    list.append(piece("li", "hint", text));
    this.#around.say(text);
  }

  #choose(choice: Choice): void {
    this.#dialog.close();
    this.#around.choose(choice);
  }

  async #list(): Promise<readonly Choice[]> {
    const [base, token] = [this.#base.value, this.#token.value.trim()];
    const list = part("targets", HTMLElement);
    this.#hint.textContent = "Asking the gateway";
    try {
      const names = await targets(base, token);
      const choices = names.map((name) => ofGateway(name, base, token));
      list.replaceChildren(
        ...choices.map((choice) => {
          const use = button("Use", "", () => this.#choose(choice));
          use.setAttribute("aria-label", `Use ${choice.name}`);
          return row(choice.name, "", use);
        }),
      );
      this.#hint.textContent = names.length === 0 ? "It has no target that can chat." : "The token is kept until the page is closed.";
      return choices;
    } catch (error) {
      list.replaceChildren();
      this.#hint.textContent = error instanceof Error ? error.message : String(error);
      return [];
    }
  }
}

function row(name: string, detail: string, ...buttons: HTMLButtonElement[]): HTMLElement {
  return piece("li", "", piece("span", "what", piece("span", "name", name), piece("small", "", detail)), ...buttons);
}
