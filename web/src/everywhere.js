// Lines of a search over many tables: each is filled when its service has answered; one that takes long can be left.
import { all, button, find, make, maybe, table as tableOf } from "./dom.js";
import { FoundRows } from "./found.js";
/** @import {Workspace} from "./workspace.js" */

class Everywhere {
  open = 0;

  /**
   * @param {HTMLTableElement} table
   * @param {Workspace} workspace
   */
  constructor(table, workspace) {
    const { t } = workspace;
    this.table = table;
    this.workspace = workspace;
    this.here = tableOf(table);
    this.total = find(document, "[data-total]");
    this.state = find(document, "[data-state]");
    this.folded = find(document, "[data-folded]");
    const found = maybe(document, "[data-found]");
    this.found = found && new FoundRows(found, workspace);
    /** @type {Record<string, string>} */
    this.words = {
      ok: t("answered"),
      other: t("cannot be asked this"),
      late: t("no answer in time"),
      failed: t("failed"),
      busy: t("busy"),
    };
  }

  sum() {
    const { table, workspace } = this;
    const { t } = workspace;
    let rows = 0;
    for (const line of all(document, ".asked tr[data-key]", HTMLTableRowElement)) {
      rows += Number(line.dataset.rows ?? line.cells[2].textContent?.replace(/\D/g, "") ?? 0);
    }
    this.total.textContent = workspace.number(rows);
    const missing = all(table, ["late", "failed", "busy"].map((one) => `tr[data-status="${one}"]`).join(",")).length;
    this.state.textContent = this.open ? t("so far") : missing ? t("{missing} did not answer", { missing }) : "";
  }

  /**
   * Fold a table away that has no such rows, or cannot have them.
   * @param {HTMLTableRowElement} line
   */
  fold(line) {
    const { status, rows } = line.dataset;
    if (status !== "other" && !(status === "ok" && rows === "0")) return;
    find(this.folded, "tbody").append(line);
    this.folded.hidden = false;
    find(this.folded, "summary span").textContent = String(all(this.folded, "tr[data-key]").length);
  }

  /** @param {HTMLTableRowElement} line */
  async fill(line) {
    const { table, workspace } = this;
    const { t } = workspace;
    const [, , count, told] = line.cells;
    const pane = `everywhere ${line.dataset.key}`;
    let done = false;
    const end = (/** @type {string} */ status, /** @type {string} */ message) => {
      if (done) return;
      done = true;
      this.open -= 1;
      line.dataset.status = status;
      told.replaceChildren(this.words[status] ?? t("left"));
      if (message) told.append(" ", make("small", { className: "soft", textContent: message }));
      this.fold(line);
      this.sum();
    };
    const leave = button(t("Cancel"), () => {
      workspace.cancel(pane);
      end("left", "");
    });
    told.replaceChildren(t("is being asked ..."), " ", leave);
    line.dataset.status = "asked";
    this.open += 1;
    try {
      const query = new URLSearchParams(table.dataset.query);
      query.set("_of", line.dataset.key ?? "");
      const found = await workspace.ask(`${this.here}/ask`, { state: query, pane });
      line.dataset.rows = found.rows ?? 0;
      if (found.rows !== null) {
        const text = workspace.number(found.rows);
        count.replaceChildren(found.rows_url ? make("a", { href: found.rows_url, textContent: text }) : text);
      }
      if (found.answer) this.found?.add(found.answer);
      end(found.status, found.message);
    } catch (/** @type {any} */ error) {
      end("failed", error.message);
    }
  }
}

/**
 * @param {HTMLTableElement} table
 * @param {Workspace} workspace
 */
export function mount(table, workspace) {
  if (!table.dataset.asked) return undefined;
  const pane = new Everywhere(table, workspace);
  const lines = all(table, 'tr[data-status="waiting"], tr[data-status="late"]', HTMLTableRowElement);
  return Promise.all(lines.map((line) => pane.fill(line)));
}
