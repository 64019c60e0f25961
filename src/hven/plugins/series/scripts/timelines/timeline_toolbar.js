// The toolbar of a time series: fields for the visible span, buttons for usual spans, and buttons that move and zoom.
import { createButton, createElement } from "hven/dom.js";
/** @import {Timeline} from "../timeline.js" */

const SECONDS_PER_DAY = 86_400;
const SPAN_SECONDS = /** @type {[string, number][]} */ ([
  ["hour", SECONDS_PER_DAY / 24],
  ["day", SECONDS_PER_DAY],
  ["month", 30 * SECONDS_PER_DAY],
  ["year", 365.25 * SECONDS_PER_DAY],
]);

/**
 * Create the toolbar.
 * @param {Timeline} timeline
 */
export function createTimeToolbar(timeline) {
  const { t } = timeline;
  const createActionButton = (
    /** @type {string} */ symbol,
    /** @type {string} */ label,
    /** @type {() => void} */ handleClick,
  ) => createButton(symbol, handleClick, { title: label, "aria-label": label });
  for (const [field, label] of /** @type {[HTMLInputElement, string][]} */ ([
    [timeline.fromField, t("From")],
    [timeline.toField, t("To")],
  ])) {
    Object.assign(field, { type: "text", className: "moment", title: label, ariaLabel: label });
    field.addEventListener("change", () => timeline.applyFields());
  }
  const spanButtons = SPAN_SECONDS.filter(([, length]) => length < timeline.fullSpan[1] - timeline.fullSpan[0]).map(
    ([name, length]) =>
      createButton(t(name), () => timeline.show(timeline.middle - length / 2, timeline.middle + length / 2)),
  );
  return createElement(
    "div",
    { className: "bar", role: "toolbar", "aria-label": t("Time") },
    createElement("span", {}, timeline.fromField, " – ", timeline.toField),
    createElement(
      "span",
      {},
      ...spanButtons,
      createButton(t("All of it"), () => timeline.show(...timeline.getFullView())),
    ),
    createElement(
      "span",
      {},
      createActionButton("‹", t("Before"), () => timeline.move(-0.8)),
      createActionButton("−", t("Farther"), () => timeline.zoom(2)),
      createActionButton("+", t("Nearer"), () => timeline.zoom(0.5)),
      createActionButton("›", t("After"), () => timeline.move(0.8)),
    ),
  );
}
