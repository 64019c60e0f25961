// The foot of a page says how the site is, and what is not well and why; it is asked when the foot comes near, and is a link without that.

/** @param {HTMLElement} box */
export async function mount(box) {
  const answer = await fetch(`${box.dataset.url}?format=foot`).catch(() => null); // gone in the meantime: the link stays
  if (answer?.ok) box.innerHTML = await answer.text();
}
