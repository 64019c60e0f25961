// The form over many tables: its fields are completed from the values that the tables here have; it is sent when somebody sends it.
import { complete } from "./complete.js";

export function mount(form, workspace) {
  const here = form.closest("[data-here]").dataset.here;
  for (const field of form.querySelectorAll("[data-complete]")) complete(field, workspace, `${here}/facets`);
}
