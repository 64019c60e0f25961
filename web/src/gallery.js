// The pictures of a moment of a time series: of the sample that is nearest and has some.
import { make, wrong } from "./dom.js";
import { iso, seconds } from "./moments.js";
import { pictured } from "./table.js";
/** @import {Timeline} from "./timeline.js" */

/**
 * Show the pictures of the moment that was chosen.
 * @param {Timeline} timeline
 */
export async function pictures(timeline) {
  const { facts, at, gallery, step, t, view, whole, workspace } = timeline;
  if (!facts.pictures.length || !facts.hapi || at === null) return;
  const room = Math.max(20 * step, (view[1] - view[0]) / 50);
  const ends = [Math.max(at - room, whole[0]), Math.min(at + room, whole[1])];
  if (ends[0] >= ends[1]) return;
  const [start, stop] = ends.map((one) => `${iso(one)}Z`.replace("ZZ", "Z"));
  const state = new URLSearchParams({
    dataset: facts.id,
    parameters: facts.pictures.join(","),
    start,
    stop,
    format: "json",
  });
  try {
    const { data } = await workspace.ask(`${facts.hapi}/data`, { state, pane: "moment" });
    const some = data.filter((/** @type {any[]} */ [, ...urls]) => urls.some(Boolean));
    const best = some.reduce(
      (/** @type {any} */ one, /** @type {any} */ other) => (!one || far(other, at) < far(one, at) ? other : one),
      null,
    );
    const made = (best ?? [])
      .slice(1)
      .filter(Boolean)
      .map((/** @type {string} */ url) => {
        const alt = t("Picture of {time}", { time: best[0] });
        // of another origin than the site file names: not ours to show, the link stays
        if (!pictured(url)) return make("a", { href: url, textContent: alt });
        const image = make("img", { src: url, alt, loading: "lazy" });
        return make("a", { href: url }, image, make("small", { textContent: best[0] }));
      });
    gallery.replaceChildren(
      ...(made.length
        ? made
        : [make("p", { className: "soft", textContent: t("There is no picture of this moment.") })]),
    );
  } catch (error) {
    gallery.textContent = wrong(error);
  }
}

/**
 * @param {any[]} row
 * @param {number} at
 */
function far(row, at) {
  return Math.abs(seconds(row[0]) - at);
}
