// Entry point of all pages: mounts the panes that the server rendered. Each pane loads its own module when it comes
// into view.
import { findElements, createButton, createElement, findElement } from "./dom.js";
import { replaceBrokenPictures } from "./broken_pictures.js";
import { PACKAGE_PANES } from "hven:panes";
import { Workspace } from "./workspace.js";

/** @type {Record<string, () => Promise<{mount: (element: any, workspace: Workspace) => unknown}>>} */
const PANE_MODULES = {
  ...PACKAGE_PANES,
  copy: () => import("./copy_button.js"),
  detail: () => import("./row_detail.js"),
  facets: () => import("./facets.js"),
  form: () => import("./search_form.js"),
  grid: () => import("./row_grid.js"),
  late_pictures: () => import("./late_pictures.js"),
  looks: () => import("./picture_sizes.js"),
  menus: () => import("./menus.js"),
  parts: () => import("./page_sections.js"),
  plot: () => import("./plot.js"),
  health: () => import("./health_note.js"),
  histograms: () => import("./histograms.js"),
  mosaic: () => import("./picture_gallery.js"),
  switches: () => import("./state_links.js"),
  columns: () => import("./column_chooser.js"),
  compare: () => import("./row_comparison.js"),
  saved: () => import("./saved_searches.js"),
  share: () => import("./share.js"),
  samp: () => import("./samp_menu.js"),
  take: () => import("./export_menu.js"),
};

/** Addresses of the modules of panes that packages of other projects add.
 * @type {Record<string, string>} */
const EXTERNAL_PANE_URLS = JSON.parse(document.documentElement.dataset.panes ?? "{}");

const SOLE_PANE_WAIT_MILLISECONDS = 1000; // how long other panes wait for a sole pane

const wideScreen = matchMedia("(min-width: 1200px)");
const workspace = new Workspace(document);
const { t } = workspace;

/**
 * Find the function that loads the module of a pane.
 * @param {string} name
 * @returns {(() => Promise<any>) | undefined}
 */
function findModuleLoader(name) {
  const url = EXTERNAL_PANE_URLS[name];
  return PANE_MODULES[name] ?? (url ? () => import(url) : undefined);
}

/**
 * Load the module of a pane and mount it.
 * @param {HTMLElement} element
 */
async function mountPane(element) {
  const loadModule = findModuleLoader(element.dataset.pane ?? "");
  if (!loadModule || "begun" in element.dataset) return;
  element.dataset.begun = "";
  // slow panes are marked as busy
  const busyTimer = setTimeout(() => element.setAttribute("aria-busy", "true"), 150);
  try {
    const { mount: mountElement } = await loadModule();
    // a request that a newer one replaces never settles: the pane is mounted all the same
    const superseded = new Promise((resolve) => {
      workspace.on("overtaken", (event) => {
        if (event.pane === element.dataset.pane) resolve(null);
      });
    });
    await Promise.race([mountElement(element, workspace), superseded]);
    element.dataset.ready = "";
    delete element.dataset.failed;
  } catch (/** @type {any} */ error) {
    // the page works without this pane
    console.error(error);
    showFailure(element, error);
  } finally {
    clearTimeout(busyTimer);
    element.removeAttribute("aria-busy");
  }
}

/**
 * Report that a pane failed to load, with a button that tries again: the script may have been lost on its way.
 * @param {HTMLElement} element
 * @param {Error} error
 */
function showFailure(element, error) {
  element.dataset.failed = "";
  delete element.dataset.begun;
  const message = createElement("p", { className: "fault pane-failed", role: "alert" });
  const retryButton = createButton(t("Try again"), () => {
    message.remove();
    // browsers cache the failure to load a module
    if (error instanceof TypeError && /import|module|script/i.test(error.message)) location.reload();
    else mountPane(element);
  });
  message.append(t("This part of the page could not be loaded: {why}", { why: error.message }), " ", retryButton);
  element.querySelector(":scope > .pane-failed")?.remove();
  element.append(message);
}

const visibilityObserver = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      visibilityObserver.unobserve(entry.target);
      mountPane(/** @type {HTMLElement} */ (entry.target));
    }
  },
  { rootMargin: "100% 0px" }, // one screen ahead, so that panes are ready when the user scrolls
);

/**
 * Mount the panes within an element. Hidden or empty panes never come into view, so they mount at once, as do those
 * with `data-now`. Other panes wait for a pane with `data-sole`, which the page is about.
 */
workspace.mountPanes = (root) => {
  for (const details of findElements(root, "details[data-opened]", HTMLDetailsElement)) {
    if (workspace.state.has(details.dataset.opened ?? "")) details.open = true;
  }
  for (const details of findElements(root, "details[data-beside]", HTMLDetailsElement)) {
    details.addEventListener("toggle", () => {
      // once closed, its space belongs to the rows
      if (!details.open) details.removeAttribute("data-beside");
    });
    if (wideScreen.matches) details.open = true;
  }
  const panes = findElements(root, "[data-pane]");
  const solePanes = panes.filter((pane) => "sole" in pane.dataset);
  const mountOthers = () => {
    for (const pane of panes) {
      if (pane.hidden || !pane.childElementCount || "now" in pane.dataset) mountPane(pane);
      else visibilityObserver.observe(pane);
    }
  };
  if (!solePanes.length) return mountOthers();
  const timeout = new Promise((resolve) => setTimeout(resolve, SOLE_PANE_WAIT_MILLISECONDS));
  void Promise.race([Promise.all(solePanes.map(mountPane)), timeout]).then(mountOthers);
};
workspace.mountPanes(document);

/** Open the details that contain the target of the address: not all browsers do so. */
function openTarget() {
  const targetElement = findElement(document, ":target");
  const closedDetails = findElements(document, "details:not([open])", HTMLDetailsElement).filter((details) =>
    details.contains(targetElement),
  );
  if (!targetElement || !closedDetails.length) return;
  for (const details of closedDetails) details.open = true;
  targetElement.scrollIntoView();
}
addEventListener("hashchange", openTarget);
openTarget();
replaceBrokenPictures();
