// The background of the sky map: the Aladin window, the survey, and the coverage of the rows; each reports its own
// faults.
import { findElements, createElement } from "hven/dom.js";
/** @import {Workspace} from "hven/workspace.js" */

const DISPLAY_PARAMETERS = { _row: null, _panes: null, _map: null, _plot: null, _sort: null, _cols: null };
const SURVEY_TIMEOUT_MILLISECONDS = 8000; // for a survey's properties

/**
 * Create the image of the drawn sky that the package contains, for use without other surveys.
 * @param {any} A
 * @param {string} address
 */
function createDrawnSky(A, address) {
  const options = { cooFrame: "equatorial", maxOrder: 0, tileSize: 512, imgFormat: "png" };
  return A.imageHiPS(address, { id: "drawn", name: "drawn", ...options });
}

/**
 * Create Aladin's map with the drawn sky.
 * @param {any} A
 * @param {HTMLElement} element
 * @param {string} sky
 * @param {number[]} where longitude, latitude, field of view
 */
export function createSkyMap(A, element, sky, [lon, lat, fieldOfView]) {
  return A.aladin(element, {
    log: false,
    survey: createDrawnSky(A, sky),
    target: `${lon} ${lat}`,
    fov: fieldOfView,
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
 * Create the place of a fault. Each source has its own, because responses arrive in any order.
 * @param {string} name
 */
function createFault(name) {
  return createElement("p", { className: `fault ${name}`, role: "status" });
}

/**
 * Check that a survey can be read; throw an error if it cannot.
 * @param {string} address
 */
async function requireSurvey(address) {
  const signal = AbortSignal.timeout(SURVEY_TIMEOUT_MILLISECONDS);
  const response = await fetch(`${address.replace(/\/$/, "")}/properties`, { signal, credentials: "omit" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
}

/** The survey below all layers. */
export class SurveyBackground {
  requestNumber = 0;
  faultElement = createFault("lacking");
  /** The choice of surveys, if there are any.
   * @type {HTMLSelectElement | null} */
  surveySelect = null;

  /**
   * @param {any} A
   * @param {any} aladin
   * @param {HTMLElement} container
   * @param {Workspace} workspace
   */
  constructor(A, aladin, container, { t }) {
    this.A = A;
    this.aladin = aladin;
    this.sky = container.dataset.sky ?? "";
    this.t = t;
    this.surveys = (container.dataset.surveys ?? "").split(" ").filter(Boolean);
    if (!this.surveys.length) return;
    const options = this.surveys.map((address) => new Option(formatSurveyName(address), address));
    const surveySelect = createElement(
      "select",
      { "aria-label": t("Survey") },
      new Option(t("drawn sky"), ""),
      ...options,
    );
    surveySelect.value = this.surveys[0];
    surveySelect.addEventListener("change", () => this.showSurvey(surveySelect.value));
    this.surveySelect = surveySelect;
  }

  begin() {
    if (this.surveys.length) this.showSurvey(this.surveys[0]);
  }

  /**
   * Show a survey; if it does not load, the drawn sky stays.
   * @param {string} address
   */
  async showSurvey(address) {
    const { A, aladin } = this;
    const ownNumber = ++this.requestNumber;
    this.faultElement.textContent = "";
    if (!address) return aladin.setBaseImageLayer(createDrawnSky(A, this.sky));
    try {
      await requireSurvey(address);
      if (ownNumber !== this.requestNumber) return; // the user has chosen another one meanwhile
      aladin.setBaseImageLayer(A.imageHiPS(address, { errorCallback: () => this.showMissing(address, ownNumber) }));
    } catch {
      this.showMissing(address, ownNumber);
    }
  }

  /**
   * Report that a survey is missing, and show the drawn sky.
   * @param {string} name
   * @param {number} ownNumber
   */
  showMissing(name, ownNumber) {
    if (ownNumber !== this.requestNumber) return;
    this.aladin.setBaseImageLayer(createDrawnSky(this.A, this.sky));
    if (this.surveySelect) this.surveySelect.value = "";
    this.faultElement.textContent = this.t("The survey {name} cannot be read, so the map shows the drawn sky", {
      name,
    });
  }
}

/** The surveys over the background, which readers switch on; each has its own opacity. */
export class SurveyOverlays {
  /** Surveys that are switched on, by their addresses; those that are loaded have an image.
   * @type {Map<string, {opacity: number, image: any}>} */
  shownSurveys = new Map();
  faultElement = createFault("lacking overlaid");

  /**
   * @param {any} A
   * @param {any} aladin
   * @param {Workspace} workspace
   * @param {string[]} surveys addresses
   */
  constructor(A, aladin, workspace, surveys) {
    this.A = A;
    this.aladin = aladin;
    this.workspace = workspace;
    this.surveys = surveys;
  }

  /**
   * Show a survey over the background, change its opacity, or hide it.
   * @param {string} address
   * @param {boolean} isVisible
   * @param {number} opacity
   */
  async setVisible(address, isVisible, opacity) {
    const shownSurvey = this.shownSurveys.get(address);
    this.faultElement.textContent = "";
    if (!isVisible) return this.hide(address);
    if (shownSurvey) {
      shownSurvey.opacity = opacity;
      shownSurvey.image?.setOpacity(opacity);
      return;
    }
    const survey = { opacity, image: /** @type {any} */ (null) };
    this.shownSurveys.set(address, survey);
    try {
      await requireSurvey(address);
      if (this.shownSurveys.get(address) !== survey) return; // the user has hidden it meanwhile
      // the background can show the same survey
      survey.image = this.A.imageHiPS(address, { id: `over ${address}`, name: formatSurveyName(address) });
      this.aladin.setOverlayImageLayer(survey.image, address);
      survey.image.setOpacity(survey.opacity);
    } catch {
      if (this.shownSurveys.get(address) !== survey) return;
      this.hide(address);
      const values = { name: formatSurveyName(address) };
      this.faultElement.textContent = this.workspace.t("The survey {name} cannot be read", values);
    }
  }

  /** @param {string} address */
  hide(address) {
    if (this.shownSurveys.get(address)?.image) this.aladin.removeImageLayer(address);
    this.shownSurveys.delete(address);
  }

  /** Format the surveys that are shown, with their opacity in percent, for the address of the page. */
  formatShownSurveys() {
    return [...this.shownSurveys]
      .map(([address, { opacity }]) => `${encodeURIComponent(formatSurveyName(address))}@${Math.round(opacity * 100)}`)
      .join("+");
  }

  /**
   * Show the surveys of the address of the page.
   * @param {string} text
   */
  showSurveysOfAddress(text) {
    for (const [name, opacity] of parseShownSurveys(text)) {
      const address = this.surveys.find((survey) => formatSurveyName(survey) === name);
      if (address) this.setVisible(address, true, opacity);
    }
  }
}

/**
 * Parse the surveys of the address of a page: names and opacities.
 * @param {string} text
 * @returns {[string, number][]}
 */
export function parseShownSurveys(text) {
  return text
    .split("+")
    .map((part) => /^(.+)@(\d{1,3})$/.exec(part))
    .filter((match) => match !== null)
    .map(([, name, percent]) => [decodeURIComponent(name), Math.min(Math.max(Number(percent), 5), 100) / 100]);
}

/**
 * Format the end of a survey's address, which distinguishes it from others.
 * @param {string} address
 */
export function formatSurveyName(address) {
  return new URL(address).pathname.split("/").filter(Boolean).slice(-2).join(" ") || address;
}

/** The cells that contain rows of the search; requested when the layer is shown. */
export class CoverageLayer {
  isVisible = false;
  opacity = 0;
  /** @type {any} */
  moc = null;
  faultElement = createFault("lacking uncovered");

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
   * Show or hide the coverage.
   * @param {boolean} isVisible
   * @param {number} opacity
   */
  setVisible(isVisible, opacity) {
    const wasVisible = this.isVisible;
    this.isVisible = isVisible;
    this.opacity = opacity;
    if (this.moc) this.moc.opacity = opacity;
    if (isVisible && !wasVisible) this.draw();
    else if (!isVisible) this.clear();
  }

  clear() {
    if (this.moc) this.aladin.removeOverlay(this.moc);
    this.moc = null;
  }

  async draw() {
    this.faultElement.textContent = "";
    if (!this.isVisible) return;
    const options = { state: this.workspace.state.withChanges(DISPLAY_PARAMETERS), pane: "sky-coverage" };
    const cells = await this.workspace.fetchJson(this.path, options).catch((error) => {
      this.faultElement.textContent = error.message;
      return null;
    });
    this.clear();
    if (!cells || !this.isVisible) return;
    const style = { color: this.colour, opacity: this.opacity, fill: true, edge: false, lineWidth: 1 };
    this.moc = this.A.MOCFromJSON(cells, { ...style, name: "coverage" });
    this.aladin.addMOC(this.moc);
  }
}

/**
 * Label Aladin's controls, which only have icons.
 * @param {HTMLElement} element
 * @param {Workspace} workspace
 */
export function labelControls(element, { t }) {
  for (const image of findElements(element, "img:not([alt])", HTMLImageElement)) image.alt = "";
  /** @type {Record<string, string>} */
  const labelsByClass = {
    "aladin-location-copy": t("Copy the position"),
    "aladin-fullScreen-control": t("Full screen"),
    "aladin-fullScreenControl": t("Full screen"),
  };
  /** @type {Record<string, string>} */
  const labelsByTag = { select: t("Coordinate frame"), input: t("Position") };
  for (const control of findElements(element, "button, select, input, .aladin-btn")) {
    if (control.textContent?.trim() && control.localName !== "select") continue;
    if (control.getAttribute("aria-label")) continue;
    const knownClass = Object.keys(labelsByClass).find((className) => control.classList.contains(className));
    const label = knownClass
      ? labelsByClass[knownClass]
      : (labelsByTag[control.localName] ?? (control.title || t("Map control")));
    control.setAttribute("aria-label", label);
  }
}
