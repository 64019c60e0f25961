// The form over many tables: its fields are completed from the values that the tables here have; it is sent when somebody sends it.
import { complete } from "./complete.js";
import { all, table } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

/**
 * @param {HTMLFormElement} form
 * @param {Workspace} workspace
 */
export function mount(form, workspace) {
  const path = `${table(form)}/facets`;
  for (const field of all(form, "[data-complete]", HTMLInputElement)) complete(field, workspace, path);
}
