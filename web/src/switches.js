// Language, colours, and other links that the server drew with the state of the page: they keep the one that it has come to since.
import { all, target } from "./dom.js";
/** @import {State, Workspace} from "./workspace.js" */

const LONGEST = 1000; // characters of an address that a log-in elsewhere keeps in a cookie

/**
 * Give the state of a page with the language or the colours of a link.
 * @param {string} state
 * @param {string} link
 */
export function switched(state, link) {
  const next = new URLSearchParams(state);
  for (const [name, value] of new URLSearchParams(link))
    if (name === "lang" || name === "_theme") next.set(name, value);
  return `?${next}`;
}

/**
 * Give the state of a page with what a link says that it changes (`data-with`); what it says without a value is left out.
 * @param {Pick<State, "with">} state
 * @param {string} changes
 */
export function followed(state, changes) {
  return String(state.with(Object.fromEntries(new URLSearchParams(changes))));
}

/**
 * Give the query of the link to log in that leads back to what is on the screen; where that is long, to its page alone.
 * @param {string} link
 * @param {string} state
 */
export function returning(link, state) {
  const [path] = (new URLSearchParams(link).get("next") ?? "").split("?");
  const next = path + state;
  return `?${new URLSearchParams({ next: next.length <= LONGEST ? next : path })}`;
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, { state }) {
  const links = all(document, "a[data-with]", HTMLAnchorElement);
  const follow = () => links.forEach((link) => (link.search = followed(state, link.dataset.with ?? "")));
  state.on("change", () => {
    for (const old of all(document, "[data-drawn]")) old.remove(); // a number of the state that was
    follow();
  });
  follow();
  box.addEventListener("click", (event) => {
    const back = /** @type {HTMLAnchorElement | null} */ (target(event).closest("a[data-back]"));
    if (back) back.search = returning(back.search, location.search);
    const link = /** @type {HTMLAnchorElement | null} */ (target(event).closest("a[href^='?']"));
    if (!link) return;
    link.search = switched(location.search, link.search);
    link.hash = location.hash;
  });
}
