// The bar of a phone that leads to the sections of a table's page: rows, map, plot, search. Without scripts its links
// still work.
import { findElements, findElement } from "./dom.js";

const READING_LINE_PIXELS = 100; // the current section is the last one that begins above this line

/** @param {HTMLElement} navigationBar */
export function mount(navigationBar) {
  const links = findElements(navigationBar, "a", HTMLAnchorElement);
  const sections = links.map((link) => findElement(document, link.hash));
  links.forEach((link, index) => {
    link.addEventListener("click", (event) => {
      const section = sections[index];
      if (!section || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      if (section instanceof HTMLDetailsElement) section.open = true;
      section.scrollIntoView({ behavior: "instant" });
      /** @type {HTMLElement} */ (section.querySelector("summary") ?? section).focus({ preventScroll: true });
    });
  });
  const markCurrentSection = () => {
    const tops = sections.map((section) => section?.getBoundingClientRect().top ?? Infinity);
    const passedTops = tops.filter((top) => top < READING_LINE_PIXELS);
    const currentIndex = passedTops.length ? tops.indexOf(Math.max(...passedTops)) : 0;
    links.forEach((link, index) => {
      if (index === currentIndex) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    });
  };
  let isScheduled = false;
  const scheduleMarking = () => {
    if (isScheduled) return;
    isScheduled = true;
    requestAnimationFrame(() => {
      isScheduled = false;
      markCurrentSection();
    });
  };
  addEventListener("scroll", scheduleMarking, { passive: true });
  markCurrentSection();
}
