// A plot of the rows that are found: a histogram of one column, points of two (coloured by a third), a density where points would be too many.
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { viridis } from "./colours.js";
import { counted, dated, numbers, times } from "./ticks.js";

const HEIGHT = 320;
const NAMED = 12; // kinds that the legend names
const [ACROSS, UP] = [88, 52]; // pixels between marks
const FAINT = 0.2; // of the colours: where a density begins, to be told from the ground

export function mount(box, workspace) {
  const { state, selection, t } = workspace;
  const { here } = box.closest("[data-here]").dataset;
  const columns = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const choices = box.querySelector(".axes");
  const place = box.querySelector(".drawn");
  const told = box.querySelector(".told");
  const legend = Object.assign(document.createElement("p"), { className: "legend soft" });
  place.after(legend);
  let plot = null;
  let drawn = null;
  let waiting = 0; // what takes longer than a moment says so
  let at = []; // keys of the points that are drawn, in the order of the plot

  const settings = () => {
    const [x = "", y = "", c = "", marks = ""] = (state.get("_plot") ?? "").split(";");
    return { x, y, c, logX: marks.includes("x"), logY: marks.includes("y") };
  };

  function chooser(name, label, value, none) {
    const field = Object.assign(document.createElement("label"), { textContent: `${label} ` });
    const select = document.createElement("select");
    select.append(new Option(none, ""), ...columns.map((one) => new Option(one.unit ? `${one.label} (${one.unit})` : one.label, one.name, false, one.name === value)));
    select.addEventListener("change", () => change({ [name]: select.value }));
    field.append(select);
    return field;
  }

  function ticked(name, label, value) {
    const field = document.createElement("label");
    const tick = Object.assign(document.createElement("input"), { type: "checkbox", checked: value });
    tick.addEventListener("change", () => change({ [name]: tick.checked }));
    field.append(tick, ` ${label}`);
    return field;
  }

  function change(changes) {
    const next = { ...settings(), ...changes };
    const marks = `${next.logX ? "x" : ""}${next.logY ? "y" : ""}`;
    state.set({ _plot: next.x ? [next.x, next.y, next.c, marks].join(";").replace(/;+$/, "") : null }, { replace: true });
  }

  async function draw() {
    if (!box.isConnected) return;
    const { x, y, c, logX, logY } = settings();
    const now = String(state.with({ _row: null, _sort: null, _cols: null, _view: null, _map: null }));
    if (now === drawn) return;
    drawn = now;
    choices.replaceChildren(
      chooser("x", t("Across"), x, t("nothing")), chooser("y", t("Up"), y, t("number of rows")),
      ...(y ? [chooser("c", t("Colour"), c, t("none"))] : []), ticked("logX", t("log across"), logX), ticked("logY", t("log up"), logY),
    );
    legend.replaceChildren();
    clearTimeout(waiting); // of a question that this one overtakes
    if (!x) { workspace.cancel("plot"); rest(); plot?.destroy(); plot = null; place.replaceChildren(); told.textContent = ""; return; }
    const mine = setTimeout(() => {
      place.setAttribute("aria-busy", "true");
      place.classList.add("waiting");
      told.replaceChildren(t("Drawing ..."), " ", act(t("Cancel"), () => { workspace.cancel("plot"); rest(); drawn = null; told.replaceChildren(t("Cancelled"), " ", act(t("Try again"), draw)); }));
    }, 150);
    waiting = mine;
    try {
      if (!y) bars(await workspace.ask(`${here}/histogram`, { state: state.with({ _x: x, _plot: null, _row: null }), pane: "plot" }), logY);
      else points(await workspace.ask(`${here}/points`, { state: state.with({ _x: x, _y: y, _c: c || null, _plot: null, _row: null }), pane: "plot" }), logX, logY);
      rest();
    } catch (error) {
      rest();
      drawn = null;
      told.replaceChildren(`${error.message} ${error.remedy ?? ""}`, " ", act(t("Try again"), draw));
    } finally {
      clearTimeout(mine);
    }
  }

  function rest() {
    place.removeAttribute("aria-busy");
    place.classList.remove("waiting");
  }

  function act(text, does) {
    const made = Object.assign(document.createElement("button"), { type: "button", className: "quiet", textContent: text });
    made.addEventListener("click", does);
    return made;
  }

  const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const days = (value) => new Date((value - 2440587.5) * 86400000).toISOString();

  function axis(facts, up = false, log = false) {
    const name = `${facts.label}${facts.unit && !facts.time ? ` (${facts.unit})` : ""}`;
    const drawn_ = { label: name, stroke: ink("--soft"), grid: { stroke: ink("--line"), width: 1 }, ticks: { stroke: ink("--line") }, font: "12px system-ui", labelFont: "13px system-ui" };
    if (log) return drawn_; // its own marks are powers of ten
    const room = (u, at) => (at === 0 ? (u.width - 60) / ACROSS : (u.height - 60) / UP);
    drawn_.splits = (u, at, low, high) => (facts.time ? times : numbers)(low, high, Math.floor(room(u, at)));
    drawn_.values = (u, splits) => (facts.time ? dated(splits) : counted(splits, workspace.language));
    if (up) drawn_.size = (u, texts) => Math.max(40, 16 + 7 * Math.max(0, ...(texts ?? []).map((one) => one.length)));
    return drawn_;
  }

  function make(options, data) {
    plot?.destroy();
    place.replaceChildren();
    plot = new uPlot({ width: place.clientWidth || 600, height: HEIGHT, legend: { show: false }, cursor: { points: { show: false } }, ...options }, data, place);
    window.hven = { ...window.hven, plot }; // for who looks at it in the console, and for tests
  }

  function bars(found, log) {
    at = [];
    if (!found.counts.length) { plot?.destroy(); plot = null; told.textContent = t("There is nothing to draw"); return; }
    const width = (found.high - found.low) / found.counts.length;
    const xs = found.counts.map((_, number) => found.low + (number + 0.5) * width);
    make({
      scales: { x: { time: false, range: [found.low, found.high] }, y: log ? { distr: 3 } : { range: (_, __, most) => [0, most * 1.05 || 1] } },
      axes: [axis({ label: found.label, unit: found.unit, time: found.time }), axis({ label: t("rows"), unit: "" }, true, log)],
      series: [{}, { stroke: ink("--accent"), fill: ink("--accent"), paths: uPlot.paths.bars({ size: [1, Infinity], gap: 1 }), points: { show: false } }],
    }, [xs, log ? found.counts.map((count) => count || null) : found.counts]);
    const total = found.counts.reduce((sum, count) => sum + count, 0).toLocaleString(workspace.language);
    told.textContent = `${t("{total} rows", { total })}${found.missing ? `, ${t("{missing} without a value", { missing: found.missing.toLocaleString(workspace.language) })}` : ""}`;
  }

  function points(found, logX, logY) {
    if (found.density) return cloud(found);
    const [xs, ys, cs] = found.values;
    const order = xs.map((_, number) => number).filter((number) => typeof xs[number] === "number" && typeof ys[number] === "number" && (!logX || xs[number] > 0) && (!logY || ys[number] > 0));
    at = order.map((number) => found.keys[number]);
    if (!order.length) { plot?.destroy(); plot = null; told.textContent = t("There is nothing to draw"); return; }
    const colours = cs ? shades(order.map((number) => cs[number]), found.axes[2]) : null;
    const accent = ink("--accent");
    const mark = ink("--mark");
    const soft = ink("--soft");
    const size = order.length > 20000 ? 1.5 : order.length > 2000 ? 2.5 : 4;
    const errors = found.axes.slice(0, 2).map((one) => one.error && order.map((number) => one.error.values[number]));
    /** Lines as long as the errors say, behind the points. */
    const bars_ = (u, ctx) => {
      ctx.strokeStyle = soft;
      ctx.lineWidth = devicePixelRatio;
      ctx.beginPath();
      errors.forEach((sizes, up) => sizes?.forEach((size_, number) => {
        if (!(size_ > 0)) return;
        const value = u.data[up][number];
        const scale = up ? "y" : "x";
        const low = (up ? logY : logX) && value - size_ <= 0 ? u.scales[scale].min : value - size_;
        const ends = [u.valToPos(low, scale, true), u.valToPos(value + size_, scale, true)];
        const other = u.valToPos(u.data[1 - up][number], up ? "x" : "y", true);
        ctx.moveTo(...(up ? [other, ends[0]] : [ends[0], other]));
        ctx.lineTo(...(up ? [other, ends[1]] : [ends[1], other]));
      }));
      ctx.stroke();
    };
    const scatter = (u) => {
      const { ctx } = u;
      ctx.save();
      ctx.beginPath();
      ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
      ctx.clip();
      const ratio = devicePixelRatio;
      bars_(u, ctx);
      for (let number = 0; number < order.length; number++) {
        const px = u.valToPos(u.data[0][number], "x", true);
        const py = u.valToPos(u.data[1][number], "y", true);
        const chosen = at[number] && (at[number] === selection.chosen || at[number] === selection.hover || selection.marked.has(at[number]));
        ctx.fillStyle = chosen ? mark : colours ? colours[number] : accent;
        const side = size * ratio * (chosen ? 2 : 1);
        ctx.fillRect(px - side / 2, py - side / 2, side, side);
      }
      ctx.restore();
      return null;
    };
    make({
      scales: { x: { time: false, distr: logX ? 3 : 1, range: around(order.map((number) => xs[number]), logX) }, y: { distr: logY ? 3 : 1, range: around(order.map((number) => ys[number]), logY) } },
      axes: [axis(found.axes[0], false, logX), axis(found.axes[1], true, logY)],
      series: [{}, { paths: scatter, points: { show: false } }],
      hooks: { setCursor: [(u) => near(u)] },
    }, [order.map((number) => xs[number]), order.map((number) => ys[number])]);
    const named = found.axes.slice(0, 2).filter((one) => one.error).map((one) => one.error.name);
    told.textContent = `${t("{total} rows", { total: order.length.toLocaleString(workspace.language) })}${found.more ? `, ${t("the first of more")}` : ""}${named.length ? `, ${t("bars: {names}", { names: named.join(", ") })}` : ""}`;
  }

  /** The range of values with a little room; uPlot itself takes them for sorted. */
  function around(values, log) {
    let low = Infinity;
    let high = -Infinity;
    for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
    if (log) return [low / 1.2, high * 1.2];
    const room = (high - low) * 0.03 || Math.abs(high) * 0.1 || 1;
    return [low - room, high + room];
  }

  function near(u) {
    const { left, top } = u.cursor;
    if (left === undefined || left < 0) return selection.set("hover", null);
    let best = -1;
    let least = 100; // pixels, squared
    for (let number = 0; number < at.length; number++) {
      const dx = u.valToPos(u.data[0][number], "x") - left;
      const dy = u.valToPos(u.data[1][number], "y") - top;
      if (dx * dx + dy * dy < least) { least = dx * dx + dy * dy; best = number; }
    }
    selection.set("hover", best < 0 ? null : at[best] || null);
  }

  function cloud(found) {
    at = [];
    const { box: [left, right, low, high], counts } = found.density;
    // few cells have very many rows: the scale ends where all but one in two hundred are
    const filled = counts.flat().filter(Boolean).sort((one, other) => one - other);
    const most = Math.max(filled[Math.floor((filled.length - 1) * 0.995)] ?? 1, 2);
    const shade = (count) => viridis(FAINT + (1 - FAINT) * Math.min(Math.log(count) / Math.log(most), 1));
    const paths = (u) => {
      const { ctx } = u;
      const side = counts.length;
      for (let row = 0; row < side; row++) {
        for (let column = 0; column < side; column++) {
          const count = counts[row][column];
          if (!count) continue;
          const x0 = u.valToPos(left + ((right - left) * column) / side, "x", true);
          const x1 = u.valToPos(left + ((right - left) * (column + 1)) / side, "x", true);
          const y0 = u.valToPos(low + ((high - low) * row) / side, "y", true);
          const y1 = u.valToPos(low + ((high - low) * (row + 1)) / side, "y", true);
          ctx.fillStyle = shade(count);
          ctx.fillRect(x0, y1, Math.max(x1 - x0, 1) + 0.5, Math.max(y0 - y1, 1) + 0.5);
        }
      }
      return null;
    };
    make({
      scales: { x: { time: false, range: [left, right] }, y: { range: [low, high] } },
      axes: [axis(found.axes[0]), axis(found.axes[1], true)],
      series: [{}, { paths, points: { show: false } }],
    }, [[left, right], [low, high]]);
    const scale = Object.assign(document.createElement("span"), { className: "scale" });
    scale.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map((part) => shade(most ** part)).join(",")})`;
    legend.append(`${t("rows")}: 1 `, scale, ` ${filled.at(-1) > most ? "≥ " : ""}${most.toLocaleString(workspace.language)}`);
    told.textContent = t("{total} rows, as a density: dark few, bright many", { total: (found.total ?? 0).toLocaleString(workspace.language) });
  }

  /** Give each value its colour, and tell below the plot which is which. */
  function shades(values, facts) {
    const name = `${facts.label}${facts.unit && !facts.time ? ` (${facts.unit})` : ""}`;
    const numbers = values.filter((value) => typeof value === "number");
    if (numbers.length < values.length / 2) {
      const kinds = [...new Set(values.map((value) => (value === null ? "" : String(value))))].sort();
      const colour = new Map(kinds.map((kind, at) => [kind, viridis(at / Math.max(kinds.length - 1, 1))]));
      legend.append(`${name}: `, ...kinds.slice(0, NAMED).flatMap((kind) => [swatch(colour.get(kind)), ` ${kind || t("no value")}  `]), ...(kinds.length > NAMED ? [t("and {count} more", { count: (kinds.length - NAMED).toLocaleString(workspace.language) })] : []));
      return values.map((value) => colour.get(value === null ? "" : String(value)));
    }
    let low = Infinity;
    let high = -Infinity;
    for (const value of numbers) { low = Math.min(low, value); high = Math.max(high, value); }
    const said = (value) => (facts.time ? days(value).slice(0, 16).replace("T", " ") : value.toLocaleString(workspace.language, { maximumSignificantDigits: 5 }));
    const scale = Object.assign(document.createElement("span"), { className: "scale" });
    scale.style.background = `linear-gradient(to right, ${[0, 0.25, 0.5, 0.75, 1].map(viridis).join(",")})`;
    legend.append(`${name}: ${said(low)} `, scale, ` ${said(high)}`);
    return values.map((value) => (typeof value === "number" ? viridis((value - low) / (high - low || 1)) : "#888"));
  }

  function swatch(colour) {
    const made = Object.assign(document.createElement("span"), { className: "swatch" });
    made.style.background = colour;
    return made;
  }

  new ResizeObserver(() => plot?.setSize({ width: place.clientWidth, height: HEIGHT })).observe(place);
  selection.addEventListener("change", () => { if (at.length && at.length < 20000) plot?.redraw(false); });
  place.addEventListener("click", () => { if (selection.hover && box.isConnected) { selection.set("chosen", selection.hover); state.set({ _row: selection.hover }); } });
  state.addEventListener("change", draw);
  return draw();
}
