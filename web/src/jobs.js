// The page of jobs, looked at again while something runs: politely, ever more slowly, and not at all while nobody looks.
const FIRST = 1000; // milliseconds
const SLOWEST = 10_000;

export function mount(box, workspace) {
  const { t } = workspace;
  let pause = FIRST;
  let timer = 0;
  const told = () => box.querySelector("[data-said]")?.textContent ?? "";
  let before = box.textContent;

  async function look() {
    if (document.hidden) return; // begins again when it is seen
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" }, credentials: "same-origin" });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html"); // what the server has escaped stays text; no script runs
      const fresh = page.querySelector('[data-pane="jobs"]');
      if (!fresh) return;
      show(fresh);
    } catch (error) {
      note(t("The page could not be refreshed: {why}", { why: error.message }));
    }
    again();
  }

  function show(fresh) {
    pause = fresh.textContent === before ? Math.min(pause * 1.5, SLOWEST) : FIRST;
    before = fresh.textContent;
    const open = [...box.querySelectorAll("details[open] > summary")].map((one) => one.textContent);
    const focus = place(document.activeElement);
    const said = told();
    const news = fresh.querySelector("[data-said]")?.textContent ?? "";
    const live = box.querySelector("[data-said]");
    fresh.querySelector("[data-said]")?.remove();
    box.toggleAttribute("data-active", fresh.hasAttribute("data-active"));
    // a result that is looked at, plotted or sent stays as it is
    const mine = box.querySelector("[data-kept]");
    const same = mine && [...fresh.querySelectorAll("[data-kept]")].find((one) => one.dataset.kept === mine.dataset.kept);
    if (same) same.replaceWith(mine);
    box.replaceChildren(...(live ? [live] : []), ...[...fresh.childNodes].map((node) => document.adoptNode(node)));
    if (live && news !== said) live.textContent = news; // the same element: only then is its change read out
    for (const one of box.querySelectorAll("details > summary")) if (open.includes(one.textContent)) one.parentElement.open = true;
    workspace.bring(box);
    if (focus) box.querySelectorAll("a, button, summary")[focus.at]?.focus({ preventScroll: true });
  }

  function place(element) {
    const at = [...box.querySelectorAll("a, button, summary")].indexOf(element);
    return at < 0 ? null : { at };
  }

  function note(text) {
    const old = box.querySelector("[data-note]") ?? box.appendChild(Object.assign(document.createElement("p"), { className: "fault" }));
    old.dataset.note = "";
    old.textContent = text;
  }

  function again() {
    clearTimeout(timer);
    if (box.hasAttribute("data-active")) timer = setTimeout(look, pause);
  }

  box.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent) { event.preventDefault(); return; } // pressed twice
    form.dataset.sent = "1";
    setTimeout(() => { delete form.dataset.sent; }, 3000);
  });
  box.addEventListener("click", (event) => {
    if (!event.target.closest("[data-refresh]")) return;
    event.preventDefault();
    pause = FIRST;
    look();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && box.hasAttribute("data-active")) { pause = FIRST; look(); } });
  addEventListener("pageshow", (event) => { if (event.persisted) look(); }); // back: what is shown may be old
  again();
}
