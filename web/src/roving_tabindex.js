// A roving tabindex (WAI-ARIA): a group of controls is one stop of the Tab key; arrows, Home and End move within it.
import { findElements } from "./dom.js";

/** @type {Record<string, number>} */
const KEY_STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

/** Makes the controls of a container one stop of the Tab key. */
export class RovingTabindex {
  currentIndex = 0; // the element that the Tab key reaches

  /**
   * @param {HTMLElement} container
   * @param {string} selector of the controls
   */
  constructor(container, selector) {
    this.container = container;
    this.selector = selector;
    container.addEventListener("focusin", () => this.update());
    container.addEventListener("keydown", (event) => this.handleKey(event));
    const observer = new MutationObserver(() => this.update()); // controls may be added, removed or hidden later
    observer.observe(container, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"] });
    this.update();
  }

  get elements() {
    return findElements(this.container, this.selector).filter((element) => !element.closest("[hidden]"));
  }

  /** The index of the focused control; -1: none. */
  get focusedIndex() {
    return this.elements.findIndex((element) => element === document.activeElement);
  }

  /** Make the focused or current control the stop of the Tab key. */
  update() {
    const { focusedIndex, elements } = this;
    this.currentIndex = Math.max(0, Math.min(focusedIndex < 0 ? this.currentIndex : focusedIndex, elements.length - 1));
    elements.forEach((element, index) => {
      const tabIndex = index === this.currentIndex ? 0 : -1;
      if (element.tabIndex !== tabIndex) element.tabIndex = tabIndex;
    });
  }

  /**
   * Replace the controls and keep the focus on the one with the same identity (`data-of` and first class).
   * @param {() => void} replace
   */
  replaceElements(replace) {
    const { focusedIndex } = this;
    const focusedElement = this.elements[focusedIndex];
    replace();
    const getIdentity = (/** @type {HTMLElement} */ { classList, dataset }) => `${dataset.of} ${classList[0]}`;
    const newIndex = focusedElement
      ? this.elements.findIndex((element) => getIdentity(element) === getIdentity(focusedElement))
      : -1;
    if (newIndex >= 0) this.currentIndex = newIndex;
    this.update();
    if (focusedElement) this.focus();
  }

  focus() {
    this.elements[this.currentIndex]?.focus();
  }

  /** @param {KeyboardEvent} event */
  handleKey(event) {
    const { focusedIndex, elements } = this;
    const step = KEY_STEPS[event.key];
    if (focusedIndex < 0 || !step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    elements[Math.max(0, Math.min(focusedIndex + step, elements.length - 1))].focus();
  }
}
