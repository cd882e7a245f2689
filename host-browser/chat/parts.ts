/**
 * Parts of the page, by id and type, and small pieces of it.
 *
 * The page's HTML is written by hand; what it lacks shall fail when the page starts, not when somebody presses a button.
 */

/** The element with this id. */
export function part<E extends HTMLElement>(id: string, type: new () => E): E {
  const found = document.getElementById(id);
  if (found instanceof type) {
    return found;
  }
  throw new Error(`the page has no ${type.name} \`${id}\``);
}

/** A new element with a class and content; texts become text, never HTML. */
export function piece<N extends keyof HTMLElementTagNameMap>(
  name: N,
  className = "",
  ...content: (Node | string)[]
): HTMLElementTagNameMap[N] {
  const made = document.createElement(name);
  if (className !== "") {
    made.className = className;
  }
  made.append(...content);
  return made;
}

/** A button that does something. */
export function button(text: string, className: string, press: () => void): HTMLButtonElement {
  const made = piece("button", className, text);
  made.type = "button";
  made.addEventListener("click", press);
  return made;
}
