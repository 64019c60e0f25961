// The pictures of a time series: those of the sample nearest to the chosen moment.
import { createElement, describeError } from "hven/dom.js";
import { formatTime, parseTime } from "./time_format.js";
import { isAllowedPicture } from "hven/table_cells.js";
/** @import {Timeline} from "../timeline.js" */

/**
 * Show the pictures of the chosen moment.
 * @param {Timeline} timeline
 */
export async function showPictures(timeline) {
  const { facts, moment, gallery, sampleSeconds, t, view, fullSpan, workspace } = timeline;
  if (!facts.pictures.length || !facts.hapi || moment === null) return;
  const searchMargin = Math.max(20 * sampleSeconds, (view[1] - view[0]) / 50);
  const span = [Math.max(moment - searchMargin, fullSpan[0]), Math.min(moment + searchMargin, fullSpan[1])];
  if (span[0] >= span[1]) return;
  const [start, stop] = span.map((time) => `${formatTime(time)}Z`.replace("ZZ", "Z"));
  const state = new URLSearchParams({
    dataset: facts.id,
    parameters: facts.pictures.join(","),
    start,
    stop,
    format: "json",
  });
  try {
    const { data } = await workspace.fetchJson(`${facts.hapi}/data`, { state, pane: "moment" });
    const samplesWithPictures = data.filter((/** @type {any[]} */ [, ...urls]) => urls.some(Boolean));
    const nearestSample = samplesWithPictures.reduce(
      (/** @type {any} */ nearest, /** @type {any} */ sample) =>
        !nearest || measureDistance(sample, moment) < measureDistance(nearest, moment) ? sample : nearest,
      null,
    );
    const links = (nearestSample ?? [])
      .slice(1)
      .filter(Boolean)
      .map((/** @type {string} */ url) => {
        const alt = t("Picture of {time}", { time: nearestSample[0] });
        // the site's policy does not allow this origin: show a link
        if (!isAllowedPicture(url)) return createElement("a", { href: url, textContent: alt });
        const image = createElement("img", { src: url, alt, loading: "lazy" });
        return createElement("a", { href: url }, image, createElement("small", { textContent: nearestSample[0] }));
      });
    gallery.replaceChildren(
      ...(links.length
        ? links
        : [createElement("p", { className: "soft", textContent: t("There is no picture from this moment.") })]),
    );
  } catch (error) {
    gallery.textContent = describeError(error);
  }
}

/**
 * Return the distance of a sample from a moment, in seconds.
 * @param {any[]} row
 * @param {number} moment
 */
function measureDistance(row, moment) {
  return Math.abs(parseTime(row[0]) - moment);
}
