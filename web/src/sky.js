// The sky: rows as points, footprints or counts of cells, tied both ways with the selection; a region that is drawn becomes a condition.
// Aladin Lite (GPL-3, with its licence beside it) is a file of its own that this pane loads by its address; the rest of Hven is BSD-3.
import { layers, under } from "./layers.js";

const NEAR = 8; // pixels: what is so close to the pointer is under it
const LISTED = 200; // rows that are listed under a point
const WAIT = 300; // milliseconds after a movement
const [POINT, SHAPE, ASKED, COVERED] = ["#ffb26b", "#7fb0ff", "#9df09d", "#d98cff"];

/** A colour, more or less clear. */
function colour(text, opacity) {
  const value = parseInt(text.slice(1), 16);
  return `rgba(${value >> 16},${(value >> 8) & 255},${value & 255},${opacity})`;
}

/** Where to look, from the address: whatever is no place there is left out, for the map would ask a name server what it means. */
function looked(text) {
  const found = (text ?? "").split(",").map((one) => (one.trim() === "" ? NaN : Number(one)));
  const [lon, lat, field] = found;
  const good = found.length === 3 && Number.isFinite(lon) && Math.abs(lon) <= 360 && Math.abs(lat) <= 90 && field > 0 && field <= 360;
  return good ? found : [0, 0, 180];
}

export async function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const here = box.closest("[data-here]").dataset.here;
  const place = box.querySelector(".drawn-map");
  const told = box.querySelector(".told"); // of the rows
  // what else could not be had, each in its own place: which answer comes last says nothing of the others
  const [lacking, uncovered] = ["lacking", "lacking uncovered"].map((name) => Object.assign(document.createElement("p"), { className: `fault ${name}`, role: "status" }));
  let A;
  try {
    ({ default: A } = await import(box.dataset.aladin));
    await A.init;
  } catch (error) {
    const again = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Try again") });
    again.addEventListener("click", () => { told.textContent = ""; place.hidden = false; mount(box, workspace); });
    told.replaceChildren(t("The map cannot be drawn here: {why}", { why: error.message }), " ", again);
    place.hidden = true;
    return;
  }
  const [lon, lat, field] = looked(state.get("_map"));
  const dark = A.imageHiPS(box.dataset.sky, { id: "drawn", name: "drawn", cooFrame: "equatorial", maxOrder: 0, tileSize: 512, imgFormat: "png" });
  const aladin = A.aladin(place, {
    log: false, survey: dark, target: `${lon} ${lat}`, fov: field, cooFrame: "ICRSd", projection: "AIT", showCooGrid: true, showCooGridControl: false, showProjectionControl: false,
    showLayersControl: false, showSimbadPointerControl: false, showGotoControl: false, showFrame: true, showReticle: false, showShareControl: false, fullScreen: false, showSettingsControl: false, showStatusBar: false, gridColor: "#6f7aa8",
    showContextMenu: false,
  });
  for (const one of place.querySelectorAll("img:not([alt])")) one.alt = "";
  // its own buttons have pictures and no words
  const named = { "aladin-location-copy": t("Copy the position"), "aladin-fullScreen-control": t("Whole screen"), "aladin-fullScreenControl": t("Whole screen") };
  for (const one of place.querySelectorAll("button, select, input, .aladin-btn")) {
    if (one.textContent.trim() && one.localName !== "select") continue;
    const name = Object.keys(named).find((each) => one.classList.contains(each));
    if (!one.getAttribute("aria-label")) one.setAttribute("aria-label", named[name] ?? (one.localName === "select" ? t("Frame of coordinates") : one.localName === "input" ? t("Position") : one.title || t("Control of the map")));
  }
  const points = A.catalog({ name: "rows", color: colour(POINT, 1), sourceSize: 8, shape: "circle", onClick: null });
  const cells = A.catalog({ name: "counts", shape: circle });
  const chosen = A.catalog({ name: "chosen", color: "#ff5a36", sourceSize: 18, shape: "circle", readOnly: true }); // no pointer finds its marks: one that is gone would stay drawn where it was
  const shapes = A.graphicOverlay({ name: "footprints", color: colour(SHAPE, 1), lineWidth: 1.5 });
  const lit = A.graphicOverlay({ name: "lit", color: "#ff5a36", lineWidth: 3 });
  const asks = A.graphicOverlay({ name: "region", color: colour(ASKED, 1), lineWidth: 2 });
  aladin.addOverlay(shapes);
  aladin.addOverlay(asks);
  aladin.addOverlay(lit);
  for (const one of [cells, points, chosen]) aladin.addCatalog(one);
  const here_ = Object.assign(document.createElement("div"), { className: "under" });
  here_.setAttribute("aria-live", "polite");
  let placed = new Map();
  let clearness = 0.55; // of the cells
  let coverage = null;
  let region = null; // of the search, as it was asked for last
  let drawnShapes = []; // {key, circle or corners} of the footprints that are drawn
  let most = 1;
  let asked = null;
  let later = null;

  function circle(source, ctx) {
    const size = 2 + 9 * Math.sqrt(source.data.count / most);
    ctx.beginPath();
    ctx.arc(source.x, source.y, size, 0, 2 * Math.PI);
    ctx.fillStyle = colour(POINT, clearness);
    ctx.fill();
  }

  function view() {
    const [x, y] = aladin.getRaDec();
    const [wide, high] = aladin.getFov();
    return { lon: x, lat: y, wide, radius: Math.min(Math.hypot(wide, high) / 2, 180) };
  }

  async function draw() {
    const seen = view();
    const near = seen.radius < 60 ? `${seen.lon.toFixed(4)},${seen.lat.toFixed(4)},${seen.radius.toFixed(4)}` : "";
    const parameters = state.with({ _view_at: near || null, _row: null, _sort: null, _cols: null, _plot: null, _map: null });
    if (String(parameters) === asked) return;
    asked = String(parameters);
    try {
      const found = await workspace.ask(`${here}/places`, { state: parameters, pane: "sky" });
      points.removeAll(); cells.removeAll(); shapes.removeAll();
      placed = new Map();
      drawnShapes = [];
      const number = found.total.toLocaleString(workspace.language);
      if (found.counts.length) {
        most = Math.max(...found.counts);
        cells.addSources(found.lon.map((x, at) => A.source(x, found.lat[at], { count: found.counts[at] })));
        told.textContent = t("{total} rows in view, as counts of cells", { total: number });
      } else {
        points.addSources(found.lon.map((x, at) => A.source(x, found.lat[at], { key: found.keys[at] })));
        found.keys.forEach((key, at) => placed.set(key, { at: found.lon[at] === undefined ? centre(found.shapes[at]) : [found.lon[at], found.lat[at]] }));
        found.shapes.forEach((text, at) => {
          const drawn = footprint(text);
          if (!drawn) return;
          drawn.shape.key = found.keys[at];
          shapes.add(drawn.shape);
          drawnShapes.push({ key: found.keys[at], again: () => footprint(text).shape, ...drawn });
        });
        told.textContent = found.shapes.length && found.shapes.length < found.total ? t("{total} rows, {shown} of them drawn", { total: number, shown: found.shapes.length }) : t("{total} rows in view", { total: number });
      }
      mark();
    } catch (error) {
      asked = null;
      const again = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Try again") });
      again.addEventListener("click", draw);
      told.replaceChildren(`${error.message} ${error.remedy ?? ""}`, " ", again);
    }
  }

  /** Draw the region that is searched in. */
  async function outline() {
    const now = `${state.get("_near") ?? ""}|${state.get("_in") ?? ""}`;
    if (now === region) return;
    region = now;
    asks.removeAll();
    if (now === "|") return;
    const shape = await workspace.ask(`${here}/moc?_of=region&_as=shape`, { pane: "sky-region" }).catch(() => null);
    if (shape?.circle) asks.add(A.circle(...shape.circle));
    else if (shape?.polygon) asks.add(A.polygon(pairs(shape.polygon)));
  }

  function pairs(values) {
    const found = [];
    for (let at = 0; at + 1 < values.length; at += 2) found.push([values[at], values[at + 1]]);
    return found;
  }

  function numbers(text) { return (text?.match(/[-+]?\d+\.?\d*(?:[eE][-+]?\d+)?/g) ?? []).map(Number); }

  function centre(text) {
    const found = numbers(text);
    return found.length > 1 ? [found[0], found[1]] : null;
  }

  function footprint(text) {
    if (!text) return null;
    const found = numbers(text);
    if (/^\s*circle/i.test(text) || found.length === 3) return { shape: A.circle(found[0], found[1], found[2]), circle: found.slice(0, 3) };
    if (found.length < 6) return null;
    const corners = pairs(found);
    return { shape: A.polygon(corners), corners };
  }

  /** Whether a footprint holds a position: its corners as they are seen from there go round it. */
  function holds({ circle: round, corners }, [lon, lat]) {
    if (round) return distance([round[0], round[1]], [lon, lat]) <= round[2];
    const rad = Math.PI / 180;
    let turned = 0;
    const seen = corners.map(([x, y]) => {
      const turn = (x - lon) * rad;
      const [sin, cos, s0, c0] = [Math.sin(y * rad), Math.cos(y * rad), Math.sin(lat * rad), Math.cos(lat * rad)];
      return Math.atan2(cos * Math.sin(turn), c0 * sin - s0 * cos * Math.cos(turn)); // direction, from north by east
    });
    for (let at = 0; at < seen.length; at++) {
      const step = seen[(at + 1) % seen.length] - seen[at];
      turned += Math.atan2(Math.sin(step), Math.cos(step));
    }
    const [x, y] = corners[0];
    return Math.abs(turned) > Math.PI && distance([x, y], [lon, lat]) < 90; // seen from the other side of the sky it goes round as well
  }

  /** Let the map forget what it was clicked on: what is chosen is ours to show, and its own mark stays where it was when the map changes its size. */
  function forget() { aladin.selectObjects(null); }

  function mark() {
    forget();
    chosen.removeAll();
    lit.removeAll();
    const wanted = new Set([selection.chosen, selection.hover, ...selection.marked]);
    for (const one of drawnShapes) if (one.key && wanted.has(one.key)) lit.add(one.again());
    for (const key of new Set([selection.chosen, selection.hover, ...selection.marked])) {
      const one = key && placed.get(key);
      if (one?.at) chosen.addSources([A.source(one.at[0], one.at[1], { key })]);
    }
  }

  function moved() {
    clearTimeout(later);
    later = setTimeout(() => {
      const seen = view();
      state.set({ _map: `${seen.lon.toFixed(3)},${seen.lat.toFixed(3)},${seen.wide.toFixed(3)}` }, { replace: true });
      draw();
    }, WAIT);
  }

  aladin.on("positionChanged", moved);
  aladin.on("zoomChanged", moved);
  /** All rows under a point of the map: those whose footprint holds it, and those whose position is close. */
  function clicked({ x, y, ra, dec, isDragging }) {
    if (isDragging || !Number.isFinite(ra)) return;
    const keys = new Set(drawnShapes.filter((one) => one.key && holds(one, [ra, dec])).map((one) => one.key));
    for (const [key, { at }] of placed) {
      if (!key || !at || keys.has(key) || Math.abs(at[1] - dec) > 90) continue;
      const pixel = aladin.world2pix(at[0], at[1]);
      if (pixel && Math.hypot(pixel[0] - x, pixel[1] - y) <= NEAR) keys.add(key);
    }
    const found = [...keys];
    under(here_, t, found.slice(0, LISTED), workspace, { more: Math.max(found.length - LISTED, 0) });
    setTimeout(forget); // it marks what was clicked after it has told so
    if (found.length === 1) { selection.set("chosen", found[0]); state.set({ _row: found[0] }); }
  }

  aladin.on("click", clicked);
  aladin.on("objectHovered", (object) => { const key = object?.data?.key ?? object?.key; if (key) selection.set("hover", key); });
  selection.addEventListener("change", mark);
  state.addEventListener("change", (event) => { outline(); here_.replaceChildren(); if (!event.changed || event.changed.some((name) => !["_map", "_row", "_plot", "_sort", "_cols", "_view"].includes(name))) { cover(); draw(); } });

  const bar = Object.assign(document.createElement("p"), { className: "bar" });
  for (const [kind, label] of [["circle", t("Draw a circle")], ["poly", t("Draw a polygon")]]) {
    const button = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: label });
    button.addEventListener("click", () => aladin.select(kind, (region) => take(kind, region)));
    bar.append(button);
  }
  const seen_ = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Search in what is seen") });
  seen_.addEventListener("click", () => { const seen = view(); state.set({ _near: `${seen.lon.toFixed(5)},${seen.lat.toFixed(5)},${Math.min(seen.radius, 180).toFixed(5)}`, _in: null, _row: null }); });
  bar.append(seen_);
  place.before(bar);
  place.after(here_);
  told.after(lacking, uncovered);

  /** The cells that rows lie in, of what is found now; asked for when the layer is shown. */
  async function cover() {
    uncovered.textContent = "";
    if (!coverage?.on) return;
    const cells_ = await workspace.ask(`${here}/moc?_of=coverage&_as=json`, { state: state.with({ _row: null, _map: null, _plot: null, _sort: null, _cols: null }), pane: "sky-coverage" }).catch((error) => { uncovered.textContent = error.message; return null; });
    if (coverage.moc) { aladin.removeOverlay(coverage.moc); coverage.moc = null; }
    if (!cells_ || !coverage.on) return;
    coverage.moc = A.MOCFromJSON(cells_, { color: COVERED, opacity: coverage.opacity, fill: true, edge: false, lineWidth: 1, name: "coverage" });
    aladin.addMOC(coverage.moc);
  }

  let laid = 0;

  /** Show a survey below everything; where it does not come, the drawn sky stays. */
  async function lay(address) {
    const mine = ++laid;
    const dark_ = A.imageHiPS(box.dataset.sky, { id: "drawn", name: "drawn", cooFrame: "equatorial", maxOrder: 0, tileSize: 512, imgFormat: "png" });
    lacking.textContent = "";
    if (!address) { aladin.setBaseImageLayer(dark_); return; }
    try {
      const found = await fetch(`${address.replace(/\/$/, "")}/properties`, { signal: AbortSignal.timeout(8000), credentials: "omit" });
      if (!found.ok) throw new Error(`HTTP ${found.status}`);
      if (mine !== laid) return; // another one was chosen meanwhile
      aladin.setBaseImageLayer(A.imageHiPS(address, { errorCallback: () => missing(address) }));
    } catch {
      missing(address);
    }
    function missing(name) {
      if (mine !== laid) return;
      aladin.setBaseImageLayer(dark_);
      if (survey) survey.value = "";
      lacking.textContent = t("The survey {name} cannot be had: the drawn sky is shown", { name });
    }
  }

  const surveys = (box.dataset.surveys ?? "").split(" ").filter(Boolean);
  let survey = null;
  if (surveys.length) {
    survey = document.createElement("select");
    survey.setAttribute("aria-label", t("Survey"));
    survey.append(new Option(t("drawn sky"), ""), ...surveys.map((one) => new Option(new URL(one).pathname.split("/").filter(Boolean).slice(-2).join(" ") || one, one)));
    survey.value = surveys[0];
    survey.addEventListener("change", () => lay(survey.value));
  }
  const showing = (one, on) => (on ? one.show() : one.hide());
  place.before(layers(t, [
    { name: t("Sky"), sign: "area", colour: "#56608a", choice: survey, set: (on, opacity) => aladin.getBaseImageLayer()?.setOpacity(on ? opacity : 0) },
    { name: t("Rows"), sign: "dot", colour: POINT, told: t("where there are many: counts of cells, the bigger the more"), set: (on, opacity) => { showing(points, on); showing(cells, on); points.setColor(colour(POINT, opacity)); clearness = 0.55 * opacity; cells.reportChange(); } },
    { name: t("Footprints"), sign: "line", colour: SHAPE, set: (on, opacity) => { showing(shapes, on); shapes.setColor(colour(SHAPE, opacity)); } },
    ...(box.dataset.coverage === undefined ? [] : [{ name: t("Coverage"), sign: "area", colour: COVERED, on: false, opacity: 0.4, told: t("cells of the sky that rows lie in (MOC)"), set: (on, opacity) => { const was = coverage?.on; coverage = { ...coverage, on, opacity }; if (coverage.moc) coverage.moc.opacity = opacity; if (on !== Boolean(was)) { if (on) cover(); else if (coverage.moc) { aladin.removeOverlay(coverage.moc); coverage.moc = null; } } } }]),
    { name: t("Region of the search"), sign: "line", colour: ASKED, set: (on, opacity) => { showing(asks, on); asks.setColor(colour(ASKED, opacity)); } },
    { name: t("Chosen rows"), sign: "dot", colour: "#ff5a36", set: (on) => { showing(chosen, on); showing(lit, on); } },
  ]));
  if (surveys.length) lay(surveys[0]);
  outline();

  function take(kind, region) {
    if (kind === "circle") {
      const middle = aladin.pix2world(region.x, region.y);
      const edge = aladin.pix2world(region.x + region.r, region.y);
      if (middle && edge) state.set({ _in: `CIRCLE ${middle[0].toFixed(5)} ${middle[1].toFixed(5)} ${distance(middle, edge).toFixed(5)}`, _near: null, _row: null });
    } else {
      const corners = (region.vertices ?? []).map(({ x, y }) => aladin.pix2world(x, y)).filter(Boolean);
      if (corners.length > 2) state.set({ _in: `POLYGON ${corners.map(([x, y]) => `${x.toFixed(5)} ${y.toFixed(5)}`).join(" ")}`, _near: null, _row: null });
    }
  }

  function distance([x1, y1], [x2, y2]) {
    const rad = Math.PI / 180;
    const half = Math.sin(((y2 - y1) * rad) / 2) ** 2 + Math.cos(y1 * rad) * Math.cos(y2 * rad) * Math.sin(((x2 - x1) * rad) / 2) ** 2;
    return (2 * Math.asin(Math.sqrt(half))) / rad;
  }

  window.hven = { ...window.hven, aladin }; // for who looks at it in the console, and for tests
  return draw();
}
