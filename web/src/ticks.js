// Ticks of axes: as many as fit, but at least three, at round numbers or at whole minutes, days, months and years.
const MIN_TICKS = 3;
const MAX_TICKS = 200; // longer lists are not built
const DAY_MILLISECONDS = 86_400_000;
const UNIX_EPOCH_JULIAN_DATE = 2_440_587.5;
const HOUR_STEPS_MILLISECONDS = [
  DAY_MILLISECONDS / 24,
  DAY_MILLISECONDS / 12,
  DAY_MILLISECONDS / 8,
  DAY_MILLISECONDS / 4,
  DAY_MILLISECONDS / 2,
];
const TIME_STEPS_MILLISECONDS = [
  1000,
  5000,
  15_000,
  60_000,
  300_000,
  900_000,
  1_800_000,
  ...HOUR_STEPS_MILLISECONDS,
  DAY_MILLISECONDS,
  2 * DAY_MILLISECONDS,
  5 * DAY_MILLISECONDS,
  10 * DAY_MILLISECONDS,
];
const MONTH_STEPS = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 6000, 12_000];

/**
 * Format a Julian date in ISO 8601, with milliseconds.
 * @param {number} value
 */
export function formatJulianDate(value) {
  return new Date(Math.round((value - UNIX_EPOCH_JULIAN_DATE) * DAY_MILLISECONDS)).toISOString();
}

/**
 * Choose from candidates, the finer first: the first that fits, but with at least three ticks if possible.
 * @param {(() => number[] | null)[]} candidates
 * @param {number} maxTicks
 */
function chooseTicks(candidates, maxTicks) {
  /** @type {number[]} */
  let finerTicks = [];
  for (const listTicks of candidates) {
    const ticks = listTicks();
    if (ticks === null) continue; // far too many
    if (ticks.length <= maxTicks) return ticks.length >= MIN_TICKS || !finerTicks.length ? ticks : finerTicks;
    finerTicks = ticks;
  }
  return finerTicks;
}

/**
 * List the multiples of a step; null if they are too many.
 * @param {number} low
 * @param {number} high
 * @param {number} step
 */
function listMultiples(low, high, step) {
  if ((high - low) / step > MAX_TICKS) return null;
  const multiples = [];
  for (let factor = Math.ceil(low / step - 1e-9); factor * step <= high + step * 1e-9; factor++) {
    multiples.push(factor * step);
  }
  return multiples;
}

/**
 * List the ticks between two numbers: multiples of 1, 2 or 5 times a power of ten.
 * @param {number} low
 * @param {number} high
 * @param {number} maxTicks
 */
export function listNumberTicks(low, high, maxTicks) {
  const unit = 10 ** Math.floor(Math.log10((high - low) / Math.max(maxTicks, MIN_TICKS)) - 1);
  if (!(unit > 0 && Number.isFinite(unit))) return [low];
  const candidates = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map(
    (factor) => () => listMultiples(low, high, unit * factor),
  );
  return chooseTicks(candidates, Math.max(maxTicks, MIN_TICKS)).map((tick) => Number(tick.toPrecision(12)));
}

/**
 * List the ticks between two Julian dates.
 * @param {number} low
 * @param {number} high
 * @param {number} maxTicks
 */
export function listTimeTicks(low, high, maxTicks) {
  const [begin, end] = [low, high].map((date) => (date - UNIX_EPOCH_JULIAN_DATE) * DAY_MILLISECONDS);
  const shortSteps = TIME_STEPS_MILLISECONDS.map((step) => () => listMultiples(begin, end, step));
  const longSteps = MONTH_STEPS.map((step) => () => listMonths(begin, end, step));
  return chooseTicks([...shortSteps, ...longSteps], Math.max(maxTicks, MIN_TICKS)).map(
    (tick) => tick / DAY_MILLISECONDS + UNIX_EPOCH_JULIAN_DATE,
  );
}

/**
 * List the starts of months in a range; null if they are too many.
 * @param {number} begin
 * @param {number} end
 * @param {number} step
 */
function listMonths(begin, end, step) {
  const first = toMonthNumber(begin);
  const last = toMonthNumber(end);
  if ((last - first) / step > MAX_TICKS) return null;
  const times = [];
  for (let month = Math.ceil(first / step) * step; month <= last; month += step) times.push(monthToTime(month));
  return times.filter((time) => time >= begin && time <= end);
}

/**
 * Convert a time to the number of its month.
 * @param {number} time
 */
function toMonthNumber(time) {
  const date = new Date(time);
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/**
 * Convert the number of a month to its start.
 * @param {number} month
 */
function monthToTime(month) {
  const date = new Date(0);
  date.setUTCFullYear(Math.floor(month / 12), ((month % 12) + 12) % 12, 1);
  return date.getTime();
}

/**
 * Format ticks of time without shared parts of the date; a second line has the day of hours, or the year of days.
 * @param {number[]} ticks
 */
export function formatTimeTicks(ticks) {
  const texts = ticks.map(formatJulianDate);
  const haveEnding = (/** @type {string} */ ending) => texts.every((text) => text.endsWith(ending));
  if (haveEnding("-01-01T00:00:00.000Z")) return texts.map((text) => text.slice(0, -20));
  if (haveEnding("-01T00:00:00.000Z")) return texts.map((text) => text.slice(0, -17));
  const secondsEnd = haveEnding(":00.000Z") ? -8 : -5;
  const [start, dateEnd, end] = haveEnding("T00:00:00.000Z") ? [-19, -20, -14] : [-13, -14, secondsEnd];
  const dates = texts.map((text) => text.slice(0, dateEnd));
  return texts.map((text, index) => {
    const time = text.slice(start, end);
    return index && dates[index] === dates[index - 1] ? time : `${time}\n${dates[index]}`;
  });
}

/**
 * Format ticks of numbers with enough digits to distinguish them.
 * @param {number[]} ticks
 * @param {string} language
 */
export function formatNumberTicks(ticks, language) {
  const step = ticks.length > 1 ? Math.abs(ticks[1] - ticks[0]) : Math.abs(ticks[0]) || 1;
  const greatest = Math.max(...ticks.map(Math.abs));
  const exponent = Math.floor(Math.log10(step) + 1e-9); // power of ten of the digit in which they differ
  if (greatest >= 1e7 || step < 1e-5) return ticks.map((tick) => formatExponential(tick, exponent));
  const digits = Math.max(0, -exponent);
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: greatest >= 10_000 };
  return ticks.map((tick) => tick.toLocaleString(language, options));
}

/**
 * @param {number} value
 * @param {number} exponent
 */
function formatExponential(value, exponent) {
  if (value === 0) return "0";
  return value.toExponential(Math.max(0, Math.min(8, Math.floor(Math.log10(Math.abs(value))) - exponent)));
}
