// Add pictures to the cards of collections when the server has drawn them: the page is fetched again until none is
// missing.
import { findElements, findElement } from "./dom.js";

const PAUSE_MILLISECONDS = 1000;
const MAX_REQUESTS = 60;

/** @param {HTMLElement} cards */
export function mount(cards) {
  void fetchLatePictures(cards);
}

/**
 * Fetch the page again until all pictures are there.
 * @param {HTMLElement} cards
 */
async function fetchLatePictures(cards) {
  for (let attempt = 0; attempt < MAX_REQUESTS; attempt++) {
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MILLISECONDS));
    const response = await fetch(location.href, { headers: { accept: "text/html" } }).catch(() => null);
    if (!response?.ok) continue;
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const lateCards = findElement(page, "ul.cards");
    if (!lateCards) return;
    for (const card of findElements(cards, "li[id]")) addPicture(card, page);
    if (lateCards.dataset.pane !== cards.dataset.pane) return;
  }
}

/**
 * Add the picture of a card that had none.
 * @param {HTMLElement} card
 * @param {Document} page
 */
function addPicture(card, page) {
  const picture = page.getElementById(card.id)?.querySelector("img.thumbnail");
  const head = findElement(card, ".head");
  if (picture && head && !head.querySelector(".thumbnail")) head.prepend(document.adoptNode(picture));
}
