// Links with the state of the page: language, theme, log-in and others that the server rendered. They follow changes of
// the state.
import { findElements, getEventTarget } from "./dom.js";
/** @import {State, Workspace} from "./workspace.js" */

const MAX_ADDRESS_CHARACTERS = 1000; // longest address that a log-in elsewhere can keep in a cookie

/**
 * Apply the language or theme of a link to the state of the page.
 * @param {string} state
 * @param {string} link
 */
export function applySwitchLink(state, link) {
  const next = new URLSearchParams(state);
  for (const [name, value] of new URLSearchParams(link)) {
    if (name === "lang" || name === "_theme") next.set(name, value);
  }
  return `?${next}`;
}

/**
 * Apply the changes of a link (`data-with`) to the state of the page; empty values remove parameters.
 * @param {Pick<State, "withChanges">} state
 * @param {string} changes
 */
export function applyChanges(state, changes) {
  return String(state.withChanges(Object.fromEntries(new URLSearchParams(changes))));
}

/**
 * Build the query of a log-in link that returns to the current state, or only to its page if the address is too long.
 * @param {string} link
 * @param {string} state
 */
export function buildSignInQuery(link, state) {
  const [path] = (new URLSearchParams(link).get("next") ?? "").split("?");
  const next = path + state;
  return `?${new URLSearchParams({ next: next.length <= MAX_ADDRESS_CHARACTERS ? next : path })}`;
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, { state }) {
  const links = findElements(document, "a[data-with]", HTMLAnchorElement);
  const updateLinks = () => links.forEach((link) => (link.search = applyChanges(state, link.dataset.with ?? "")));
  state.on("change", () => {
    // numbers that the server rendered for the previous state
    for (const element of findElements(document, "[data-drawn]")) element.remove();
    updateLinks();
  });
  updateLinks();
  container.addEventListener("click", (event) => {
    const signInLink = /** @type {HTMLAnchorElement | null} */ (getEventTarget(event).closest("a[data-back]"));
    if (signInLink) signInLink.search = buildSignInQuery(signInLink.search, location.search);
    const link = /** @type {HTMLAnchorElement | null} */ (getEventTarget(event).closest("a[href^='?']"));
    if (!link) return;
    link.search = applySwitchLink(location.search, link.search);
    link.hash = location.hash;
  });
}
