// The search form over several tables: fields suggest values of these tables; the form is submitted as usual.
import { completeValues } from "hven/completion.js";
import { findElements, readTableUrl } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

/**
 * @param {HTMLFormElement} form
 * @param {Workspace} workspace
 */
export function mount(form, workspace) {
  const facetsUrl = `${readTableUrl(form)}/facets`;
  for (const field of findElements(form, "[data-complete]", HTMLInputElement))
    completeValues(field, workspace, facetsUrl);
}
