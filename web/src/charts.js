// What a map of the sky stands on: Aladin's window, the survey below everything, and the coverage over it; what cannot be had says so.
import { all, make } from "./dom.js";
/** @import {Workspace} from "./workspace.js" */

const LOOKS = { _row: null, _map: null, _plot: null, _sort: null, _cols: null };
const PATIENCE = 8000; // milliseconds for the first word of a survey

/**
 * The sky that the package brings, for where no other one can be had.
 * @param {any} A
 * @param {string} address
 */
function drawn(A, address) {
  const facts = { cooFrame: "equatorial", maxOrder: 0, tileSize: 512, imgFormat: "png" };
  return A.imageHiPS(address, { id: "drawn", name: "drawn", ...facts });
}

/**
 * @param {any} A
 * @param {HTMLElement} place
 * @param {string} sky
 * @param {number[]} where longitude, latitude, width
 */
export function chart(A, place, sky, [lon, lat, field]) {
  return A.aladin(place, {
    log: false,
    survey: drawn(A, sky),
    target: `${lon} ${lat}`,
    fov: field,
    cooFrame: "ICRSd",
    projection: "AIT",
    gridColor: "#6f7aa8",
    fullScreen: false,
    showCooGrid: true,
    showFrame: true,
    showContextMenu: false,
    showCooGridControl: false,
    showGotoControl: false,
    showLayersControl: false,
    showProjectionControl: false,
    showReticle: false,
    showSettingsControl: false,
    showShareControl: false,
    showSimbadPointerControl: false,
    showStatusBar: false,
  });
}

/**
 * What could not be had, each in its own place: which answer comes last says nothing of the others.
 * @param {string} name
 */
function lacking(name) {
  return make("p", { className: `fault ${name}`, role: "status" });
}

export class Survey {
  laid = 0;
  lacking = lacking("lacking");
  /** Which of several, if there are any.
   * @type {HTMLSelectElement | null} */
  choice = null;

  /**
   * @param {any} A
   * @param {any} aladin
   * @param {HTMLElement} box
   * @param {Workspace} workspace
   */
  constructor(A, aladin, box, { t }) {
    this.A = A;
    this.aladin = aladin;
    this.sky = box.dataset.sky ?? "";
    this.t = t;
    this.surveys = (box.dataset.surveys ?? "").split(" ").filter(Boolean);
    if (!this.surveys.length) return;
    const options = this.surveys.map((one) => new Option(title(one), one));
    const choice = make("select", { "aria-label": t("Survey") }, new Option(t("drawn sky"), ""), ...options);
    choice.value = this.surveys[0];
    choice.addEventListener("change", () => this.lay(choice.value));
    this.choice = choice;
  }

  begin() {
    if (this.surveys.length) this.lay(this.surveys[0]);
  }

  /**
   * Show a survey below everything; where it does not come, the drawn sky stays.
   * @param {string} address
   */
  async lay(address) {
    const { A, aladin } = this;
    const mine = ++this.laid;
    this.lacking.textContent = "";
    if (!address) return aladin.setBaseImageLayer(drawn(A, this.sky));
    try {
      const signal = AbortSignal.timeout(PATIENCE);
      const found = await fetch(`${address.replace(/\/$/, "")}/properties`, { signal, credentials: "omit" });
      if (!found.ok) throw new Error(`HTTP ${found.status}`);
      if (mine !== this.laid) return; // another one was chosen meanwhile
      aladin.setBaseImageLayer(A.imageHiPS(address, { errorCallback: () => this.missing(address, mine) }));
    } catch {
      this.missing(address, mine);
    }
  }

  /**
   * @param {string} name
   * @param {number} mine
   */
  missing(name, mine) {
    if (mine !== this.laid) return;
    this.aladin.setBaseImageLayer(drawn(this.A, this.sky));
    if (this.choice) this.choice.value = "";
    this.lacking.textContent = this.t("The survey {name} cannot be had: the drawn sky is shown", { name });
  }
}

/**
 * Give the end of a survey's address, which tells it from others.
 * @param {string} address
 */
export function title(address) {
  return new URL(address).pathname.split("/").filter(Boolean).slice(-2).join(" ") || address;
}

/** The cells that rows lie in, of what is found now; asked for when the layer is shown. */
export class Coverage {
  on = false;
  opacity = 0;
  /** @type {any} */
  moc = null;
  lacking = lacking("lacking uncovered");

  /**
   * @param {any} A
   * @param {any} aladin
   * @param {string} colour
   * @param {string} path
   * @param {Workspace} workspace
   */
  constructor(A, aladin, colour, path, workspace) {
    this.A = A;
    this.aladin = aladin;
    this.colour = colour;
    this.path = path;
    this.workspace = workspace;
  }

  /**
   * @param {boolean} on
   * @param {number} opacity
   */
  set(on, opacity) {
    const was = this.on;
    this.on = on;
    this.opacity = opacity;
    if (this.moc) this.moc.opacity = opacity;
    if (on && !was) this.draw();
    else if (!on) this.clear();
  }

  clear() {
    if (this.moc) this.aladin.removeOverlay(this.moc);
    this.moc = null;
  }

  async draw() {
    this.lacking.textContent = "";
    if (!this.on) return;
    const question = { state: this.workspace.state.with(LOOKS), pane: "sky-coverage" };
    const cells = await this.workspace.ask(this.path, question).catch((error) => {
      this.lacking.textContent = error.message;
      return null;
    });
    this.clear();
    if (!cells || !this.on) return;
    const look = { color: this.colour, opacity: this.opacity, fill: true, edge: false, lineWidth: 1 };
    this.moc = this.A.MOCFromJSON(cells, { ...look, name: "coverage" });
    this.aladin.addMOC(this.moc);
  }
}

/**
 * Give words to the map's own buttons, which have pictures alone.
 * @param {HTMLElement} place
 * @param {Workspace} workspace
 */
export function named(place, { t }) {
  for (const one of all(place, "img:not([alt])", HTMLImageElement)) one.alt = "";
  /** @type {Record<string, string>} */
  const names = {
    "aladin-location-copy": t("Copy the position"),
    "aladin-fullScreen-control": t("Whole screen"),
    "aladin-fullScreenControl": t("Whole screen"),
  };
  /** @type {Record<string, string>} */
  const kinds = { select: t("Frame of coordinates"), input: t("Position") };
  for (const one of all(place, "button, select, input, .aladin-btn")) {
    if (one.textContent?.trim() && one.localName !== "select") continue;
    if (one.getAttribute("aria-label")) continue;
    const name = Object.keys(names).find((each) => one.classList.contains(each));
    const said = name ? names[name] : (kinds[one.localName] ?? (one.title || t("Control of the map")));
    one.setAttribute("aria-label", said);
  }
}
