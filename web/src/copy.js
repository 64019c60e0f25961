// A button that copies the text of the code beside it; an address in it is signed, where who asks it without a cookie needs that.
import { button, find } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

const WHILE = 1500; // milliseconds that "Copied" is said

/**
 * Put a button into a box that copies its code; `say` says on it what it does, and what it did.
 * @param {HTMLElement} box
 * @param {Pick<Workspace, "t" | "opened">} workspace
 * @param {(made: HTMLButtonElement, text: string) => void} [say]
 */
export function copier(box, workspace, say = (made, text) => (made.textContent = text)) {
  if (!navigator.clipboard) return;
  const { t } = workspace;
  const act = async () => {
    const { url = "", signed } = box.dataset;
    const open = signed ? await workspace.opened(url) : url;
    const text = open === url ? find(box, "code").textContent : signed?.replace("{url}", `'${open}'`);
    await navigator.clipboard.writeText(text ?? "");
    say(made, t("Copied"));
    setTimeout(() => say(made, t("Copy")), WHILE);
  };
  const made = button("", act, { className: "copy" });
  say(made, t("Copy"));
  box.append(made);
}

/**
 * @param {HTMLElement} box
 * @param {Workspace} workspace
 */
export function mount(box, workspace) {
  copier(box, workspace);
}
