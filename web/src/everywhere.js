// Lines of a search over many tables: each is filled when its service has answered; one that takes long can be left.
export function mount(table, workspace) {
  const { t } = workspace;
  const here = table.closest("[data-here]").dataset.here;
  if (!table.dataset.asked) return;
  const total = document.querySelector("[data-total]");
  const state = document.querySelector("[data-state]");
  let open = 0;

  const number = (value) => value.toLocaleString(workspace.language);
  const words = { ok: t("answered"), other: t("cannot be asked this"), late: t("no answer in time"), failed: t("failed"), busy: t("busy") };

  function sum() {
    let rows = 0;
    for (const line of table.querySelectorAll("tr[data-key]")) rows += Number(line.dataset.rows ?? line.cells[2].textContent.replace(/\D/g, "") ?? 0);
    total.textContent = number(rows);
    const missing = table.querySelectorAll('tr[data-status="late"], tr[data-status="failed"], tr[data-status="busy"]').length;
    state.textContent = open ? t("so far") : missing ? t("{missing} did not answer", { missing }) : "";
  }

  async function fill(line) {
    const [, , count, told] = line.cells;
    const pane = `everywhere ${line.dataset.key}`;
    const leave = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Cancel") });
    told.replaceChildren(t("is being asked ..."), " ", leave);
    line.dataset.status = "asked";
    open += 1;
    let done = false;
    function end(status, message) {
      if (done) return;
      done = true;
      open -= 1;
      line.dataset.status = status;
      told.replaceChildren(words[status] ?? t("left"));
      if (message) told.append(" ", Object.assign(document.createElement("small"), { className: "soft", textContent: message }));
      sum();
    }
    leave.addEventListener("click", () => { workspace.cancel(pane); end("left", ""); });
    try {
      const query = new URLSearchParams(table.dataset.query);
      query.set("_of", line.dataset.key);
      const found = await workspace.ask(`${here}/ask`, { state: query, pane });
      line.dataset.rows = found.rows ?? 0;
      if (found.rows !== null) count.replaceChildren(found.rows_url ? Object.assign(document.createElement("a"), { href: found.rows_url, textContent: number(found.rows) }) : number(found.rows));
      end(found.status, found.message);
    } catch (error) {
      end("failed", error.message);
    }
  }

  const lines = [...table.querySelectorAll('tr[data-status="waiting"], tr[data-status="late"]')];
  return Promise.all(lines.map(fill));
}
