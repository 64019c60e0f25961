// Cards of collections without their pictures, which the server was still drawing when it made the page: the page is asked for again until they are there.
import { all, maybe } from "./dom.js";

const PAUSE_MILLISECONDS = 1000;
const MAX_REQUESTS = 60;

/** @param {HTMLElement} cards */
export function mount(cards) {
  void fill(cards);
}

/** @param {HTMLElement} cards */
async function fill(cards) {
  for (let number = 0; number < MAX_REQUESTS; number++) {
    await new Promise((done) => setTimeout(done, PAUSE_MILLISECONDS));
    const answer = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
    if (!answer?.ok) continue;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const late = maybe(page, "ul.cards");
    if (!late) return;
    for (const card of all(cards, "li[id]")) add(card, page);
    if (late.dataset.pane !== cards.dataset.pane) return;
  }
}

/**
 * Put the picture of a card where there was none.
 * @param {HTMLElement} card
 * @param {Document} page
 */
function add(card, page) {
  const picture = page.getElementById(card.id)?.querySelector("img.thumbnail");
  const head = maybe(card, ".head");
  if (picture && head && !head.querySelector(".thumbnail")) head.prepend(document.adoptNode(picture));
}
