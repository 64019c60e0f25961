// Elements of the page, made and found in few words.

/**
 * Make an element with properties, attributes (`role`, `aria-..`) and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]> & Record<`aria-${string}`, string>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function make(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === "role" || name.startsWith("aria-")) made.setAttribute(name, String(value));
    else Object.assign(made, { [name]: value });
  }
  made.append(...children);
  return made;
}

/**
 * Make a button that does something.
 * @param {string} text
 * @param {(event: MouseEvent) => unknown} act
 * @param {Partial<HTMLButtonElement> & Record<`aria-${string}`, string>} [properties]
 */
export function button(text, act, properties) {
  const made = make("button", { type: "button", className: "quiet", textContent: text, ...properties });
  made.addEventListener("click", act);
  return made;
}

/**
 * Find the first element that a selector means and that is of a kind; it is an error if there is none.
 * @template {typeof Element} [Kind=typeof HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {Kind} [kind]
 * @returns {InstanceType<Kind>}
 */
export function find(root, selector, kind) {
  const found = maybe(root, selector, kind);
  if (!found) throw new Error(`the page has no ${selector}`);
  return found;
}

/**
 * Find the first element that a selector means, if it is of a kind.
 * @template {typeof Element} [Kind=typeof HTMLElement]
 * @param {ParentNode | null | undefined} root
 * @param {string} selector
 * @param {Kind} [kind]
 * @returns {InstanceType<Kind> | null}
 */
export function maybe(root, selector, kind) {
  const found = root?.querySelector(selector);
  return found instanceof (kind ?? HTMLElement) ? /** @type {InstanceType<Kind>} */ (found) : null;
}

/**
 * Find all elements that a selector means and that are of a kind.
 * @template {typeof Element} [Kind=typeof HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {Kind} [kind]
 * @returns {InstanceType<Kind>[]}
 */
export function all(root, selector, kind) {
  const found = [...root.querySelectorAll(selector)].filter((one) => one instanceof (kind ?? HTMLElement));
  return /** @type {InstanceType<Kind>[]} */ (found);
}

/**
 * Find an element around another one; it is an error if there is none.
 * @param {Element} element
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function around(element, selector) {
  const found = element.closest(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`the page has no ${selector} around ${element.localName}`);
  return found;
}

/**
 * Give the address of the table that a pane is about.
 * @param {Element} element
 * @returns {string}
 */
export function table(element) {
  return around(element, "[data-here]").dataset.here ?? "";
}

/**
 * Give the element that an event is about.
 * @param {Event} event
 * @returns {HTMLElement}
 */
export function target(event) {
  return /** @type {HTMLElement} */ (event.target);
}

/**
 * Give what went wrong in words: what the server says, and what helps.
 * @param {any} error
 * @returns {string}
 */
export function wrong(error) {
  return `${error.message} ${error.remedy ?? ""}`;
}

/**
 * Give the name of a row by its key, a list in JSON.
 * @param {string} key
 * @returns {string}
 */
export function named(key) {
  try {
    return JSON.parse(key).join(" ");
  } catch {
    return key;
  }
}
