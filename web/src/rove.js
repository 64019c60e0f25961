// One press of Tab for a group of buttons: arrows go from one to the next, Home and End to its ends.
import { all } from "./dom.js";

/** @type {Record<string, number>} */
const STEPS = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };

export class Rover {
  at = 0; // the one that Tab comes to

  /**
   * @param {HTMLElement} box
   * @param {string} selector of those that are gone through
   */
  constructor(box, selector) {
    this.box = box;
    this.selector = selector;
    box.addEventListener("focusin", () => this.settle());
    box.addEventListener("keydown", (event) => this.pressed(event));
    const seen = new MutationObserver(() => this.settle()); // some come, go and are hidden later
    seen.observe(box, { childList: true, subtree: true, attributes: true, attributeFilter: ["hidden"] });
    this.settle();
  }

  get list() {
    return all(this.box, this.selector).filter((one) => !one.closest("[hidden]"));
  }

  /** Where the keyboard is among them; -1: elsewhere. */
  get held() {
    return this.list.findIndex((one) => one === document.activeElement);
  }

  settle() {
    const { held, list } = this;
    this.at = Math.max(0, Math.min(held < 0 ? this.at : held, list.length - 1));
    list.forEach((one, number) => {
      const index = number === this.at ? 0 : -1;
      if (one.tabIndex !== index) one.tabIndex = index;
    });
  }

  /**
   * Change what is there: who is at one goes on at what is called the same afterwards (`data-of`, and its first class), wherever that stands.
   * @param {() => void} act
   */
  change(act) {
    const { held } = this;
    const before = this.list[held];
    act();
    const called = (/** @type {HTMLElement} */ { classList, dataset }) => `${dataset.of} ${classList[0]}`;
    const again = before ? this.list.findIndex((one) => called(one) === called(before)) : -1;
    if (again >= 0) this.at = again;
    this.settle();
    if (before) this.focus();
  }

  focus() {
    this.list[this.at]?.focus();
  }

  /** @param {KeyboardEvent} event */
  pressed(event) {
    const { held, list } = this;
    const step = STEPS[event.key];
    if (held < 0 || !step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    list[Math.max(0, Math.min(held + step, list.length - 1))].focus();
  }
}
