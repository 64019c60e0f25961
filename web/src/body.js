// A planet, a moon, the Sun: rows as boxes and points over a plain grid of longitude and latitude, or over the Sun's disc; where rows are many, as
// counts. Tied both ways with the selection; a box that is drawn becomes a condition.
import { layers, under } from "./layers.js";
import { viridis } from "./colours.js";

const [ROW, CHOSEN, ASKED] = ["#ffb26b", "#ff5a36", "#9df09d"];
const LISTED = 200; // rows that are listed under a point
const NEAR = 6; // pixels: a point is as big as that
const PLANET = { box: [0, -90, 360, 90], fields: ["c1", "c2"], unit: "deg", radius: 0, said: "planetary" };

export function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const here = box.closest("[data-here]").dataset.here;
  const place = box.querySelector(".drawn-map");
  const told = box.querySelector(".told");
  const canvas = Object.assign(document.createElement("canvas"), { className: "body" });
  place.append(canvas);
  const below = Object.assign(document.createElement("div"), { className: "under" });
  below.setAttribute("aria-live", "polite");
  place.after(below);
  let frame = PLANET;
  let boxes = []; // {key, count, west, south, east, north}; west > east goes across 0
  let most = 0; // rows of the fullest box, where they are counted
  let drag = null;
  let asked = null;
  let clear = { rows: 1, chosen: 1, grid: 1, region: 1 };

  async function load() {
    const parameters = state.with({ _row: null, _sort: null, _cols: null, _plot: null, _map: null });
    if (String(parameters) === asked) return;
    asked = String(parameters);
    below.replaceChildren();
    try {
      const found = await workspace.ask(`${here}/places`, { state: parameters, pane: "body" });
      frame = found.frame ?? PLANET;
      boxes = found.shapes.map((text, at) => { const [west, south, east, north] = text.split(" ").map(Number); return { key: found.keys[at], count: found.counts[at] ?? 0, west, south, east, north }; });
      most = found.counts.length ? Math.max(...found.counts) : 0;
      const number = found.total.toLocaleString(workspace.language);
      const rows = most ? t("{total} rows in view, as counts of cells", { total: number }) : boxes.length < found.total ? t("{total} rows, {shown} of them drawn", { total: number, shown: boxes.length.toLocaleString(workspace.language) }) : t("{total} rows", { total: number });
      told.textContent = `${rows} · ${said()}`;
      draw();
    } catch (error) {
      asked = null;
      const again = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: t("Try again") });
      again.addEventListener("click", load);
      told.replaceChildren(`${error.message} ${error.remedy ?? ""}`, " ", again);
    }
  }

  /** What longitudes and latitudes are, in words. */
  function said() {
    if (frame.said === "helioprojective") return t("helioprojective angles, in arcsec, west to the right");
    if (frame.said === "Carrington") return t("Carrington longitude and latitude, in degrees");
    return t("longitude, to the east, and latitude, in degrees");
  }

  // the disc keeps its shape; longitudes and latitudes fill the map
  const scale = () => {
    const [west, south, east, north] = frame.box;
    if (!frame.radius) return { x: canvas.width / (east - west), y: canvas.height / (north - south), left: 0, top: 0 };
    const one = Math.min(canvas.width / (east - west), canvas.height / (north - south));
    return { x: one, y: one, left: (canvas.width - one * (east - west)) / 2, top: (canvas.height - one * (north - south)) / 2 };
  };
  const x = (lon) => { const s = scale(); return s.left + (lon - frame.box[0]) * s.x; };
  const y = (lat) => { const s = scale(); return s.top + (frame.box[3] - lat) * s.y; };
  const back = ([px, py]) => { const s = scale(); return [(px - s.left) / s.x + frame.box[0], frame.box[3] - (py - s.top) / s.y]; };

  function draw() {
    const ratio = devicePixelRatio || 1;
    canvas.width = place.clientWidth * ratio;
    canvas.height = place.clientHeight * ratio;
    const ctx = canvas.getContext("2d");
    ctx.fillStyle = "#141a2b";
    ctx.fillRect(0, 0, canvas.width, canvas.height);
    ctx.globalAlpha = clear.grid;
    grid(ctx, ratio);
    ctx.globalAlpha = clear.rows;
    if (most) for (const one of boxes) paint(ctx, one, viridis(0.15 + (0.85 * Math.log1p(one.count)) / Math.log1p(most)), null, 0);
    else {
      const many = boxes.length > 300;
      for (const one of boxes) paint(ctx, one, many ? "rgba(255,178,107,.10)" : "rgba(255,178,107,.22)", many ? "rgba(255,178,107,.35)" : "rgba(255,178,107,.9)", ratio);
    }
    ctx.globalAlpha = clear.chosen;
    for (const one of boxes) if (one.key && (one.key === selection.chosen || one.key === selection.hover || selection.marked.has(one.key))) paint(ctx, one, "rgba(255,90,54,.45)", CHOSEN, 2 * ratio);
    ctx.globalAlpha = clear.region;
    const region = searched();
    if (region) { ctx.setLineDash([4, 4]); paint(ctx, region, "rgba(157,240,157,.06)", ASKED, 1.5 * ratio); ctx.setLineDash([]); }
    ctx.globalAlpha = 1;
    if (drag?.to) { ctx.strokeStyle = "#fff"; ctx.setLineDash([6, 4]); ctx.strokeRect(drag.from[0], drag.from[1], drag.to[0] - drag.from[0], drag.to[1] - drag.from[1]); ctx.setLineDash([]); }
  }

  function grid(ctx, ratio) {
    ctx.strokeStyle = "rgba(160,175,220,.25)";
    ctx.fillStyle = "rgba(190,200,230,.8)";
    ctx.font = `${11 * ratio}px system-ui`;
    ctx.lineWidth = ratio;
    if (!frame.radius) {
      for (let lon = 0; lon < 360; lon += 30) { line(ctx, x(lon), 0, x(lon), canvas.height); ctx.fillText(`${lon}°`, x(lon) + 3 * ratio, canvas.height - 4 * ratio); }
      for (let lat = -60; lat <= 60; lat += 30) { line(ctx, 0, y(lat), canvas.width, y(lat)); ctx.fillText(`${lat}°`, 3 * ratio, y(lat) - 3 * ratio); }
      return;
    }
    ctx.beginPath();
    ctx.arc(x(0), y(0), frame.radius * scale().x, 0, 2 * Math.PI);
    ctx.fillStyle = "rgba(255,214,120,.12)";
    ctx.fill();
    ctx.strokeStyle = "rgba(255,214,120,.7)";
    ctx.stroke();
    ctx.strokeStyle = "rgba(160,175,220,.25)";
    ctx.fillStyle = "rgba(190,200,230,.8)";
    for (let at = -1000; at <= 1000; at += 500) {
      line(ctx, x(at), 0, x(at), canvas.height);
      line(ctx, 0, y(at), canvas.width, y(at));
      ctx.fillText(`${at}″`, x(at) + 3 * ratio, canvas.height - 4 * ratio);
      ctx.fillText(`${at}″`, 3 * ratio, y(at) - 3 * ratio);
    }
  }

  function line(ctx, x0, y0, x1, y1) { ctx.beginPath(); ctx.moveTo(x0, y0); ctx.lineTo(x1, y1); ctx.stroke(); }

  /** The box that the search asks for, if its conditions are one. */
  function searched() {
    const [lon, lat] = frame.fields.map((name) => /^\s*([-+]?[\d.]+)\.\.([-+]?[\d.]+)\s*$/.exec(state.get(name) ?? ""));
    if (!lon && !lat) return null;
    const [west, south, east, north] = frame.box;
    return { west: lon ? Number(lon[1]) : west, east: lon ? Number(lon[2]) : east, south: lat ? Number(lat[1]) : south, north: lat ? Number(lat[2]) : north };
  }

  /** The parts of a box on the map: two if it goes across longitude 0. */
  function parts(one) {
    if (frame.radius) return [[one.west, one.east]];
    if (one.east - one.west >= 360) return [[0, 360]];
    const west = ((one.west % 360) + 360) % 360;
    const wide = one.east === one.west ? 0 : (((one.east - one.west) % 360) + 360) % 360;
    return west + wide <= 360 ? [[west, west + wide]] : [[west, 360], [0, west + wide - 360]];
  }

  function paint(ctx, one, fill, stroke, width) {
    const ratio = devicePixelRatio || 1;
    ctx.fillStyle = fill;
    ctx.lineWidth = width;
    if (stroke) ctx.strokeStyle = stroke;
    for (const [west, east] of parts(one)) {
      const [left, top] = [x(west), y(one.north)];
      const [wide, high] = [x(east) - left, y(one.south) - top];
      if (!one.count && wide < 3 * ratio && high < 3 * ratio) { // a point
        ctx.beginPath();
        ctx.arc(left + wide / 2, top + high / 2, (NEAR / 2) * ratio, 0, 2 * Math.PI);
        ctx.fill();
        if (stroke) ctx.stroke();
        continue;
      }
      ctx.fillRect(left, top, Math.max(wide, 2), Math.max(high, 2));
      if (stroke) ctx.strokeRect(left, top, Math.max(wide, 2), Math.max(high, 2));
    }
  }

  function at(event) {
    const area = canvas.getBoundingClientRect();
    const ratio = canvas.width / area.width;
    return [(event.clientX - area.left) * ratio, (event.clientY - area.top) * ratio];
  }

  function hits(where) {
    const [lon, lat] = back(where);
    const spare = (NEAR * (devicePixelRatio || 1)) / scale().y;
    const wider = (NEAR * (devicePixelRatio || 1)) / scale().x;
    const found = boxes.filter((one) => {
      const tall = one.north - one.south < 2 * spare ? spare : 0;
      return lat >= one.south - tall && lat <= one.north + tall && parts(one).some(([west, east]) => { const more = east - west < 2 * wider ? wider : 0; return lon >= west - more && lon <= east + more; });
    });
    return found.sort((a, b) => (a.north - a.south) - (b.north - b.south)); // the smallest one is what was meant
  }

  canvas.addEventListener("pointerdown", (event) => { drag = { from: at(event), to: null }; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    if (drag) { drag.to = at(event); draw(); return; }
    const [hit] = hits(at(event));
    canvas.title = hit?.count ? t("{total} rows", { total: hit.count.toLocaleString(workspace.language) }) : "";
    selection.set("hover", hit?.key ?? null);
  });
  canvas.addEventListener("pointercancel", () => { drag = null; draw(); });
  canvas.addEventListener("pointerleave", () => { if (!drag) selection.set("hover", null); });
  canvas.addEventListener("pointerup", (event) => {
    const moved = drag?.to && Math.hypot(drag.to[0] - drag.from[0], drag.to[1] - drag.from[1]) > 6;
    const { from } = drag ?? { from: at(event) };
    drag = null;
    if (moved) {
      const [one, other] = [back(from), back(at(event))];
      within(Math.min(one[0], other[0]), Math.max(one[0], other[0]), Math.min(one[1], other[1]), Math.max(one[1], other[1]));
      return;
    }
    const found = hits(from);
    const [hit] = found;
    if (!hit) { below.replaceChildren(); return; }
    if (hit.count) { within(hit.west, hit.east, hit.south, hit.north); return; } // a closer look
    const keys = found.map((each) => each.key).filter(Boolean);
    under(below, t, keys.slice(0, LISTED), workspace, { more: Math.max(keys.length - LISTED, 0) });
    if (hit.key) { selection.set("chosen", hit.key); state.set({ _row: hit.key }); below.scrollTop = 0; }
  });

  function within(west, east, south, north) {
    const kept = (value, low, high) => Math.min(Math.max(value, low), high).toFixed(2);
    const [left, bottom, right, top] = frame.box;
    const [lon, lat] = frame.fields;
    state.set({ [lon]: `${kept(west, left, right)}..${kept(east, left, right)}`, [lat]: `${kept(south, bottom, top)}..${kept(north, bottom, top)}`, _row: null });
  }

  const showing = (name) => (on, opacity) => { clear = { ...clear, [name]: on ? opacity : 0 }; draw(); };
  const bar = Object.assign(document.createElement("p"), { className: "soft hint", textContent: t("Draw a box to search in it; a click shows all rows under the point.") });
  place.before(bar, layers(t, [
    { name: t("Rows"), sign: "line", colour: ROW, told: t("where there are many: counts of cells, dark few, bright many"), set: showing("rows") },
    { name: t("Chosen rows"), sign: "line", colour: CHOSEN, set: showing("chosen") },
    { name: t("Region of the search"), sign: "line", colour: ASKED, set: showing("region") },
    { name: t("Grid"), sign: "line", colour: "#6f7aa8", set: showing("grid") },
  ]));
  selection.addEventListener("change", draw);
  state.addEventListener("change", load);
  new ResizeObserver(draw).observe(place);
  return load();
}
