// Show the values of a row with their errors, confidence and origins in its panel.
/** @import {Workspace} from "hven/workspace.js" */
/** @typedef {Record<"label" | "unit" | "value" | "error" | "lower" | "upper" | "origin" | "reference" | "url" |
 *   "confidence" | "level", string>} Quantity */

/**
 * @param {HTMLElement} _element
 * @param {Workspace} workspace
 */
export function mount(_element, workspace) {
  workspace.addRowSection(({ tableUrl, keys }) => {
    const section = document.createElement("div");
    section.className = "row-quantities";
    fillSection(section, `${tableUrl}/quantities.json`, keys[0], workspace);
    return section;
  });
}

/**
 * @param {HTMLElement} section
 * @param {string} address
 * @param {string} key
 * @param {Workspace} workspace
 */
async function fillSection(section, address, key, workspace) {
  const state = new URLSearchParams({ _row: key });
  try {
    const { values } = await workspace.fetchJson(address, { state, pane: "quantities" });
    /** @type {Quantity[]} */
    const quantities = values.filter(hasMembers);
    if (!quantities.length) return;
    const list = document.createElement("dl");
    list.append(...quantities.flatMap((value) => createEntry(value, workspace)));
    section.append(createElement("h3", workspace.t("Values with errors and origins")), list);
  } catch (/** @type {any} */ error) {
    section.textContent = error.message;
  }
}

/** @param {Quantity} value */
function hasMembers({ error, lower, upper, origin, confidence }) {
  return Boolean(error || lower || upper || origin || confidence);
}

/**
 * @param {Quantity} value
 * @param {Workspace} workspace
 */
function createEntry(value, { t }) {
  const bounds = value.lower || value.upper ? ` (${value.lower || "…"} … ${value.upper || "…"})` : "";
  const error = value.error ? ` ± ${value.error}` : "";
  const entry = createElement("dd", `${value.value}${error}${bounds} ${value.unit} `);
  if (value.confidence) {
    const confidence = createElement("span", t(value.level || value.confidence));
    confidence.className = "confidence";
    confidence.dataset.level = value.level;
    confidence.prepend(createHiddenText(t("confidence:")));
    entry.append(confidence);
  }
  if (value.origin) entry.append(createOrigin(value));
  return [createElement("dt", value.label), entry];
}

/** @param {Quantity} value */
function createOrigin(value) {
  const hasLink = /^https?:/i.test(value.url);
  const hasReference = Boolean(value.reference) && value.reference !== value.url;
  const origin = createElement("small", hasLink && !hasReference ? "" : `${value.origin} `);
  if (hasLink) {
    const link = document.createElement("a");
    link.href = value.url;
    link.rel = "noopener";
    link.textContent = hasReference ? value.reference : value.origin;
    origin.append(link);
  }
  return origin;
}

/** @param {string} text */
function createHiddenText(text) {
  const hidden = createElement("span", `${text} `);
  hidden.className = "only-heard";
  return hidden;
}

/**
 * @param {string} name
 * @param {string} text
 */
function createElement(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}
