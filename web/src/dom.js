// Helpers that create elements of the page and find them.

/**
 * Create an element with properties, attributes (`role`, `aria-...`) and children.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]> & Record<`aria-${string}`, string>} [properties]
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[Tag]}
 */
export function createElement(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (name === "role" || name.startsWith("aria-")) element.setAttribute(name, String(value));
    else Object.assign(element, { [name]: value });
  }
  element.append(...children);
  return element;
}

/**
 * Create a button with a click handler.
 * @param {string} text
 * @param {(event: MouseEvent) => unknown} handleClick
 * @param {Partial<HTMLButtonElement> & Record<`aria-${string}`, string>} [properties]
 */
export function createButton(text, handleClick, properties) {
  const element = createElement("button", { type: "button", className: "quiet", textContent: text, ...properties });
  element.addEventListener("click", handleClick);
  return element;
}

/**
 * Find the first element that matches a selector and has the required class; throw an error if there is none.
 * @template {typeof Element} [Kind=typeof HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {Kind} [kind]
 * @returns {InstanceType<Kind>}
 */
export function requireElement(root, selector, kind) {
  const element = findElement(root, selector, kind);
  if (!element) throw new Error(`the page has no ${selector}`);
  return element;
}

/**
 * Find the first element that matches a selector, if it has the required class.
 * @template {typeof Element} [Kind=typeof HTMLElement]
 * @param {ParentNode | null | undefined} root
 * @param {string} selector
 * @param {Kind} [kind]
 * @returns {InstanceType<Kind> | null}
 */
export function findElement(root, selector, kind) {
  const element = root?.querySelector(selector);
  return element instanceof (kind ?? HTMLElement) ? /** @type {InstanceType<Kind>} */ (element) : null;
}

/**
 * Find all elements that match a selector and have the required class.
 * @template {typeof Element} [Kind=typeof HTMLElement]
 * @param {ParentNode} root
 * @param {string} selector
 * @param {Kind} [kind]
 * @returns {InstanceType<Kind>[]}
 */
export function findElements(root, selector, kind) {
  const elements = [...root.querySelectorAll(selector)].filter((element) => element instanceof (kind ?? HTMLElement));
  return /** @type {InstanceType<Kind>[]} */ (elements);
}

/**
 * Find the closest ancestor that matches a selector; throw an error if there is none.
 * @param {Element} element
 * @param {string} selector
 * @returns {HTMLElement}
 */
export function requireAncestor(element, selector) {
  const ancestor = element.closest(selector);
  if (!(ancestor instanceof HTMLElement)) throw new Error(`the page has no ${selector} around ${element.localName}`);
  return ancestor;
}

/**
 * Return the address of the table that contains an element's pane.
 * @param {Element} element
 * @returns {string}
 */
export function readTableUrl(element) {
  return requireAncestor(element, "[data-here]").dataset.here ?? "";
}

/**
 * Return the element that an event was dispatched to.
 * @param {Event} event
 * @returns {HTMLElement}
 */
export function getEventTarget(event) {
  return /** @type {HTMLElement} */ (event.target);
}

/**
 * Describe an error with its message and its remedy.
 * @param {any} error
 * @returns {string}
 */
export function describeError(error) {
  return error.remedy ? `${error.message} – ${error.remedy}` : error.message;
}

/**
 * Format the key of a row, a list in JSON, as its name.
 * @param {string} key
 * @returns {string}
 */
export function formatRowKey(key) {
  try {
    return JSON.parse(key).join(" ");
  } catch {
    return key;
  }
}
