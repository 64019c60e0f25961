// The form with the region of a search below a map, which also works without scripts, and links to the forms of tables
// in which the region can be entered as a row.
import { createElement, findElement, readTableUrl } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

/**
 * Let the form below a map search without a new page, and show the region of the search.
 * @param {HTMLElement} container of the map
 * @param {Workspace} workspace
 * @returns {boolean} whether the page has this form: searches in several tables have none
 */
export function connectRegionForm(container, workspace) {
  const { state } = workspace;
  const section = container.closest("details") ?? document;
  const form = findElement(section, ".map-region form", HTMLFormElement);
  const field = findElement(section, ".map-region textarea", HTMLTextAreaElement);
  if (!form || !field) return false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    state.set({ [field.name]: field.value.trim() || null, _row: null });
  });
  const linkList = createElement("p", { className: "row-forms", hidden: true });
  container.after(linkList);
  let shownRegion = "";
  const showRegion = () => {
    const region = state.get(field.name) ?? "";
    if (region === shownRegion) return;
    shownRegion = region;
    field.value = region;
    showRowForms(linkList, region, readTableUrl(container), workspace);
  };
  state.on("change", showRegion);
  showRegion();
  return true;
}

/**
 * Show links to the forms in which the reader can enter the region of the search as a row.
 * @param {HTMLElement} linkList
 * @param {string} region
 * @param {string} tableUrl
 * @param {Workspace} workspace
 */
async function showRowForms(linkList, region, tableUrl, workspace) {
  linkList.hidden = true;
  if (!region || !workspace.isSignedIn) return;
  /** @type {{forms: {title: string, url: string}[]}} */
  const { forms } = await workspace.fetchJson(`${tableUrl}/forms`, { pane: "row-forms" }).catch(() => ({ forms: [] }));
  const links = forms.flatMap(({ title, url }) => [
    " ",
    createElement("a", { className: "tag", href: url, textContent: title }),
  ]);
  linkList.replaceChildren(workspace.t("Enter this region as a row of:"), ...links);
  linkList.hidden = !forms.length;
}
