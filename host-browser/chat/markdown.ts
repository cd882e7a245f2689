/**
 * Shows Markdown while it is still written.
 *
 * Two reasons for doing it here: what a model writes is not trusted, so it becomes elements one by one and is never read as
 * HTML; and a block that is complete is not touched again, so that a token costs the same in a long answer as in a short one.
 */

import { lexer, type Token, type Tokens } from "marked";

import { piece } from "./parts.ts";

/** Where a link may lead. */
const PROTOCOLS = new Set(["http:", "https:", "mailto:"]);

/** Entities that models write; others stay as they are. */
const ENTITIES: Readonly<Record<string, string>> = { amp: "&", apos: "'", gt: ">", lt: "<", nbsp: "\u00a0", quot: '"' };

/** Markdown in an element. */
export class Markdown {
  readonly #element: HTMLElement;
  #text = "";
  /** Characters whose blocks are complete. */
  #complete = 0;
  /** The block that may still change. */
  #open: Node | undefined;

  constructor(element: HTMLElement) {
    this.#element = element;
  }

  /** Shows the text, which begins with what was shown before. */
  show(text: string): void {
    this.#text = text.replaceAll("\r\n", "\n");
    const tokens = lexer(this.#text.slice(this.#complete));
    const last = tokens.findLastIndex((token) => token.type !== "space");
    this.#open?.parentNode?.removeChild(this.#open);
    this.#open = undefined;
    tokens.slice(0, last + 1).forEach((token, index) => {
      const shown = block(token);
      if (index < last) {
        this.#complete += token.raw.length;
      } else {
        this.#open = shown;
      }
      if (shown !== undefined) {
        this.#element.append(shown);
      }
    });
  }
}

function block(token: Token): Node | undefined {
  switch (token.type) {
    case "space":
    case "def":
      return undefined;
    case "heading":
      // The page's own headings are the first two levels.
      return piece(`h${Math.min(6, (token as Tokens.Heading).depth + 2)}` as "h3", "", ...inlines(token.tokens));
    case "code":
      return code(token as Tokens.Code);
    case "blockquote":
      return piece("blockquote", "", ...blocks(token.tokens));
    case "list":
      return list(token as Tokens.List);
    case "table":
      return table(token as Tokens.Table);
    case "hr":
      return piece("hr");
    case "text":
      // Of a list's item without blank lines: no paragraph.
      return fragment(token.tokens === undefined ? [plain((token as Tokens.Text).text)] : inlines(token.tokens));
    case "paragraph":
      return piece("p", "", ...inlines(token.tokens));
    default:
      return piece("p", "", token.raw);
  }
}

function blocks(tokens: readonly Token[] | undefined): Node[] {
  return (tokens ?? []).flatMap((token) => block(token) ?? []);
}

function code(token: Tokens.Code): HTMLElement {
  const shown = piece("pre", "", piece("code", "", token.text));
  // Who has no mouse must be able to scroll it.
  shown.tabIndex = 0;
  shown.setAttribute("role", "region");
  shown.setAttribute("aria-label", token.lang ? `Code, ${token.lang}` : "Code");
  return shown;
}

function list(token: Tokens.List): HTMLElement {
  const items = token.items.map((item) => piece("li", "", ...(item.task ? [item.checked ? "☑ " : "☐ "] : []), ...blocks(item.tokens)));
  if (!token.ordered) {
    return piece("ul", "", ...items);
  }
  const shown = piece("ol", "", ...items);
  shown.start = token.start === "" ? 1 : token.start;
  return shown;
}

function table(token: Tokens.Table): HTMLElement {
  const head = piece("tr", "", ...token.header.map((cell) => piece("th", "", ...inlines(cell.tokens))));
  const rows = token.rows.map((row) => piece("tr", "", ...row.map((cell) => piece("td", "", ...inlines(cell.tokens)))));
  const shown = piece("div", "table", piece("table", "", piece("thead", "", head), piece("tbody", "", ...rows)));
  shown.tabIndex = 0;
  shown.setAttribute("role", "region");
  shown.setAttribute("aria-label", "Table");
  return shown;
}

function inlines(tokens: readonly Token[] | undefined): Node[] {
  return (tokens ?? []).map(inline);
}

function inline(token: Token): Node {
  switch (token.type) {
    case "strong":
      return piece("strong", "", ...inlines(token.tokens));
    case "em":
      return piece("em", "", ...inlines(token.tokens));
    case "del":
      return piece("del", "", ...inlines(token.tokens));
    case "codespan":
      return piece("code", "", (token as Tokens.Codespan).text);
    case "br":
      return piece("br");
    case "link":
      return link((token as Tokens.Link).href, inlines(token.tokens));
    case "image":
      // Loading it would tell its server that this answer was read.
      return link((token as Tokens.Image).href, [plain((token as Tokens.Image).text || "image")]);
    case "escape":
    case "text":
      return token.type === "text" && token.tokens !== undefined ? fragment(inlines(token.tokens)) : plain((token as Tokens.Text).text);
    default:
      return document.createTextNode(token.raw);
  }
}

function link(href: string, content: Node[]): Node {
  const url = URL.parse(href);
  if (url === null || !PROTOCOLS.has(url.protocol)) {
    return fragment(content);
  }
  const shown = piece("a", "", ...content);
  shown.href = url.href;
  shown.target = "_blank";
  shown.rel = "noopener noreferrer nofollow";
  return shown;
}

function fragment(content: Node[]): Node {
  // Not a document fragment: that would lose its children when it is put into the page.
  return piece("span", "", ...content);
}

function plain(text: string): Node {
  const decoded = text.replaceAll(/&(?:#(\d{1,7})|#x([\da-f]{1,6})|([a-z]+));/gi, (whole, decimal?: string, hex?: string, name?: string) => {
    if (name !== undefined) {
      return ENTITIES[name] ?? whole;
    }
    const point = decimal === undefined ? Number.parseInt(hex ?? "", 16) : Number.parseInt(decimal, 10);
    return point > 0 && point <= 0x10ffff ? String.fromCodePoint(point) : whole;
  });
  return document.createTextNode(decoded);
}
