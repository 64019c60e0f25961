// A button that copies the code beside it. Addresses in the code are signed if they need a cookie otherwise.
import { createButton, requireElement } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

const FEEDBACK_MILLISECONDS = 1500; // how long the button says "Copied"

/**
 * Add a button that copies the code of a container; `setLabel` writes the label of the button.
 * @param {HTMLElement} container
 * @param {Pick<Workspace, "t" | "getShareableUrl">} workspace
 * @param {(copyButton: HTMLButtonElement, text: string) => void} [setLabel]
 */
export function addCopyButton(container, workspace, setLabel = (copyButton, text) => (copyButton.textContent = text)) {
  if (!navigator.clipboard) return;
  const { t } = workspace;
  const copyCode = async () => {
    const { url = "", signed } = container.dataset;
    const shareableUrl = signed ? await workspace.getShareableUrl(url) : url;
    const text =
      shareableUrl === url
        ? requireElement(container, "code").textContent
        : signed?.replace("{url}", `'${shareableUrl}'`);
    await navigator.clipboard.writeText(text ?? "");
    setLabel(copyButton, t("Copied"));
    setTimeout(() => setLabel(copyButton, t("Copy")), FEEDBACK_MILLISECONDS);
  };
  const copyButton = createButton("", copyCode, { className: "copy" });
  setLabel(copyButton, t("Copy"));
  container.append(copyButton);
}

/**
 * @param {HTMLElement} container
 * @param {Workspace} workspace
 */
export function mount(container, workspace) {
  addCopyButton(container, workspace);
}
