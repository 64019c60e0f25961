// Begins on every page: brings the panes to life that the server has drawn, each from a module of its own when it comes into view.
import { all, button, make, maybe } from "./dom.js";
import { replaceBrokenPictures } from "./broken_pictures.js";
import { Workspace } from "./workspace.js";

/** @type {Record<string, () => Promise<{mount: (element: any, workspace: Workspace) => unknown}>>} */
const PANES = {
  asks: () => import("./asks.js"),
  basket: () => import("./basket.js"),
  cube: () => import("./cube.js"),
  copy: () => import("./copy.js"),
  detail: () => import("./detail.js"),
  everywhere: () => import("./everywhere.js"),
  editor: () => import("./editor.js"),
  facets: () => import("./facets.js"),
  finder: () => import("./finder.js"),
  form: () => import("./form.js"),
  grid: () => import("./grid.js"),
  jobs: () => import("./jobs.js"),
  late_pictures: () => import("./late_pictures.js"),
  looks: () => import("./looks.js"),
  menus: () => import("./menus.js"),
  parts: () => import("./parts.js"),
  plot: () => import("./plot.js"),
  health: () => import("./health.js"),
  histograms: () => import("./histograms.js"),
  mosaic: () => import("./mosaic.js"),
  switches: () => import("./switches.js"),
  sky: () => import("./sky.js"),
  strip: () => import("./strip.js"),
  body: () => import("./body.js"),
  columns: () => import("./columns.js"),
  compare: () => import("./compare.js"),
  saved: () => import("./saved.js"),
  share: () => import("./share.js"),
  samp: () => import("./samp.js"),
  take: () => import("./take.js"),
  timeline: () => import("./timeline.js"),
};

const PATIENT = 1000; // milliseconds that the others wait for a sole pane

const wide = matchMedia("(min-width: 1200px)");
const workspace = new Workspace(document);
const { t } = workspace;

/** @param {HTMLElement} element */
async function mount(element) {
  const load = PANES[element.dataset.pane ?? ""];
  if (!load || "begun" in element.dataset) return;
  element.dataset.begun = "";
  // what takes longer than a moment says so
  const waiting = setTimeout(() => element.setAttribute("aria-busy", "true"), 150);
  try {
    const { mount: begin } = await load();
    // a first question that a second one overtook never ends: the pane has begun all the same
    const overtaken = new Promise((done) => {
      workspace.on("overtaken", (event) => {
        if (event.pane === element.dataset.pane) done(null);
      });
    });
    await Promise.race([begin(element, workspace), overtaken]);
    element.dataset.ready = "";
    delete element.dataset.failed;
  } catch (/** @type {any} */ error) {
    // the page was useful before it came to life, and stays so
    console.error(error);
    failed(element, error);
  } finally {
    clearTimeout(waiting);
    element.removeAttribute("aria-busy");
  }
}

/**
 * Say that a part of the page did not come to life, with a button that tries again: a script may have been lost on its way.
 * @param {HTMLElement} element
 * @param {Error} error
 */
function failed(element, error) {
  element.dataset.failed = "";
  delete element.dataset.begun;
  const told = make("p", { className: "fault pane-failed", role: "alert" });
  const again = button(t("Try again"), () => {
    told.remove();
    // browsers remember that a module was not to be had
    if (error instanceof TypeError && /import|module|script/i.test(error.message)) location.reload();
    else mount(element);
  });
  told.append(t("This part of the page could not be loaded: {why}", { why: error.message }), " ", again);
  element.querySelector(":scope > .pane-failed")?.remove();
  element.append(told);
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      mount(/** @type {HTMLElement} */ (entry.target));
    }
  },
  { rootMargin: "100% 0px" }, // a screen ahead: what is scrolled to is there already
);

/** Bring the panes of a part of the page to life; what is hidden or empty never comes into view: its pane may be the one to show it. What is needed at once (`data-now`) waits for nothing, but for the pane that a page is all about (`data-sole`): until that is there, no other takes the browser's time. */
workspace.bring = (root) => {
  for (const one of all(root, "details[data-opened]", HTMLDetailsElement)) {
    if (workspace.state.has(one.dataset.opened ?? "")) one.open = true;
  }
  for (const one of all(root, "details[data-beside]", HTMLDetailsElement)) {
    one.addEventListener("toggle", () => one.open || one.removeAttribute("data-beside")); // the rows take its room
    if (wide.matches) one.open = true;
  }
  const panes = all(root, "[data-pane]");
  const sole = panes.filter((one) => "sole" in one.dataset);
  const others = () => {
    for (const one of panes) {
      if (one.hidden || !one.childElementCount || "now" in one.dataset) mount(one);
      else seen.observe(one);
    }
  };
  if (!sole.length) return others();
  const long = new Promise((done) => setTimeout(done, PATIENT));
  void Promise.race([Promise.all(sole.map(mount)), long]).then(others);
};
workspace.bring(document);

/** Open the parts of the page in which the target of its address stands: not all browsers do so by themselves. */
function openTarget() {
  const target = maybe(document, ":target");
  const closed = all(document, "details:not([open])", HTMLDetailsElement).filter((part) => part.contains(target));
  if (!target || !closed.length) return;
  for (const part of closed) part.open = true;
  target.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
replaceBrokenPictures();
