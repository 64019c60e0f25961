// What one does with a row, on top of its panel: download, send, cite, link.
import { called, part, recalled } from "./baskets.js";
import { button, make, maybe } from "./dom.js";
import { size } from "./sizes.js";
/** @import {Row} from "./answers.js" */
/** @import {Workspace} from "./workspace.js" */

const WHILE = 1500; // milliseconds that "Copied" is said

/**
 * @param {Row} row
 * @param {string} key
 * @param {string} here the address of its table
 * @param {Workspace} workspace
 */
export function acts({ file, files = [], cite }, key, here, workspace) {
  const { language, t } = workspace;
  const made = [];
  if (file && /^(https?|ftp):/i.test(file.href)) {
    const large = file.bytes === null ? "" : ` (${size(file.bytes, language)})`;
    made.push(
      make("a", { className: "button", href: file.href, rel: "noopener", textContent: `${t("Download")}${large}` }),
    );
  }
  const menu = maybe(document, "details[data-pane=samp]", HTMLDetailsElement);
  if (menu && !menu.hidden)
    made.push(
      button(t("Send"), () => {
        menu.open = true;
        menu.scrollIntoView({ block: "nearest" });
        maybe(menu, "summary")?.focus();
      }),
    );
  const siblings = workspace.state.get("_files") === "each" ? [] : files;
  made.push(basket(called(here, workspace.base), [key, ...siblings.map((one) => one.key)], workspace));
  const link = () => {
    const address = new URL(location.href);
    return address.href;
  };
  const cited = make("details", { className: "cited", hidden: true });
  if (cite) {
    cited.append(...citation(cite, workspace));
    made.push(
      button(t("Cite"), () => {
        cited.hidden = !cited.hidden;
        cited.open = true;
      }),
    );
  }
  made.push(copying(t("Link"), link, workspace));
  return [make("div", { className: "acts" }, ...made), cited];
}

/**
 * A button that puts a row into the basket, or takes it out.
 * @param {string} of its table
 * @param {string[]} line its key, and those of the other files of its observation
 * @param {Workspace} workspace
 */
function basket(of, line, workspace) {
  const { t } = workspace;
  const has = () => part(recalled().parts, of).lines.flat().includes(line[0]);
  const say = () => (made.textContent = has() ? t("Out of the basket") : t("Into the basket"));
  const made = button("", () => {
    workspace.tell("ticked", { of, line: [...new Set(line)], on: !has() });
    say();
  });
  say();
  return made;
}

/**
 * @param {{text: string, bibtex: string}} cite
 * @param {Workspace} workspace
 */
function citation({ text, bibtex }, workspace) {
  const { t } = workspace;
  return [
    make("summary", { textContent: t("How to cite") }),
    make("p", { textContent: text }),
    make("pre", { tabIndex: 0 }, make("code", { textContent: bibtex })),
    copying(t("Copy"), () => `${text}\n\n${bibtex}`, workspace),
  ];
}

/**
 * A button that copies a text.
 * @param {string} title
 * @param {() => string} text
 * @param {Workspace} workspace
 */
function copying(title, text, { t }) {
  const made = button(title, async () => {
    await navigator.clipboard?.writeText(text());
    made.textContent = t("Copied");
    setTimeout(() => (made.textContent = title), WHILE);
  });
  return made;
}
