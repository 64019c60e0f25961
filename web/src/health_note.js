// The note about the site's health in the footer. It is fetched when the footer comes into view; without scripts the
// link stays.

/** @param {HTMLElement} container */
export async function mount(container) {
  // no connection: the link stays
  const response = await fetch(`${container.dataset.url}?format=foot`).catch(() => null);
  if (response?.ok) container.innerHTML = await response.text();
}
