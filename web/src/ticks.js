// Where an axis has its marks: as many as there is room for and three at least, at round numbers, or at whole minutes, days, months, years.
const FEWEST = 3;
const MOST = 200; // more are not counted
const DAY = 86_400_000; // milliseconds
const EPOCH = 2_440_587.5; // Julian date of 1970-01-01
const HOURS = [DAY / 24, DAY / 12, DAY / 8, DAY / 4, DAY / 2];
const STEPS = [1000, 5000, 15_000, 60_000, 300_000, 900_000, 1_800_000, ...HOURS, DAY, 2 * DAY, 5 * DAY, 10 * DAY];
const MONTHS = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 6000, 12_000];

/**
 * Give a Julian date as ISO 8601 writes it, to the millisecond.
 * @param {number} value
 */
export function iso(value) {
  return new Date(Math.round((value - EPOCH) * DAY)).toISOString();
}

/**
 * Of several ways to set marks, the finer first: the first that gives no more than there is room for, but never fewer than three if one does.
 * @param {(() => number[] | null)[]} ways
 * @param {number} most
 */
function chosen(ways, most) {
  /** @type {number[]} */
  let finer = [];
  for (const way of ways) {
    const marks = way();
    if (marks === null) continue; // far too many to be counted
    if (marks.length <= most) return marks.length >= FEWEST || !finer.length ? marks : finer;
    finer = marks;
  }
  return finer;
}

/**
 * @param {number} low
 * @param {number} high
 * @param {number} step
 */
function multiples(low, high, step) {
  if ((high - low) / step > MOST) return null;
  const found = [];
  for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number++) {
    found.push(number * step);
  }
  return found;
}

/**
 * Marks between two numbers: multiples of 1, 2 or 5 times a power of ten.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 */
export function numbers(low, high, most) {
  const least = 10 ** Math.floor(Math.log10((high - low) / Math.max(most, FEWEST)) - 1);
  if (!(least > 0 && Number.isFinite(least))) return [low];
  const ways = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map((factor) => () => multiples(low, high, least * factor));
  return chosen(ways, Math.max(most, FEWEST)).map((one) => Number(one.toPrecision(12)));
}

/**
 * Marks between two Julian dates.
 * @param {number} low
 * @param {number} high
 * @param {number} most
 */
export function times(low, high, most) {
  const [begin, end] = [low, high].map((one) => (one - EPOCH) * DAY);
  const short = STEPS.map((step) => () => multiples(begin, end, step));
  const long = MONTHS.map((step) => () => months(begin, end, step));
  return chosen([...short, ...long], Math.max(most, FEWEST)).map((one) => one / DAY + EPOCH);
}

/**
 * @param {number} begin
 * @param {number} end
 * @param {number} step
 */
function months(begin, end, step) {
  const first = monthOf(begin);
  const last = monthOf(end);
  if ((last - first) / step > MOST) return null;
  const found = [];
  for (let month = Math.ceil(first / step) * step; month <= last; month += step) found.push(timeOf(month));
  return found.filter((time) => time >= begin && time <= end);
}

/** @param {number} time */
function monthOf(time) {
  const date = new Date(time);
  return date.getUTCFullYear() * 12 + date.getUTCMonth();
}

/** @param {number} month */
function timeOf(month) {
  const date = new Date(0);
  date.setUTCFullYear(Math.floor(month / 12), ((month % 12) + 12) % 12, 1);
  return date.getTime();
}

/**
 * What stands at marks of time: no more of the date than they differ in; below it once the day of hours, the year of days.
 * @param {number[]} marks
 */
export function dated(marks) {
  const texts = marks.map(iso);
  const all = (/** @type {string} */ end) => texts.every((one) => one.endsWith(end));
  if (all("-01-01T00:00:00.000Z")) return texts.map((one) => one.slice(0, -20));
  if (all("-01T00:00:00.000Z")) return texts.map((one) => one.slice(0, -17));
  const end = all(":00.000Z") ? -8 : -5;
  const [begin, middle, last] = all("T00:00:00.000Z") ? [-19, -20, -14] : [-13, -14, end];
  const lower = texts.map((one) => one.slice(0, middle));
  return texts.map((one, at) => {
    const upper = one.slice(begin, last);
    return at && lower[at] === lower[at - 1] ? upper : `${upper}\n${lower[at]}`;
  });
}

/**
 * What stands at marks of numbers: as many digits as tell them apart.
 * @param {number[]} marks
 * @param {string} language
 */
export function counted(marks, language) {
  const step = marks.length > 1 ? Math.abs(marks[1] - marks[0]) : Math.abs(marks[0]) || 1;
  const greatest = Math.max(...marks.map(Math.abs));
  const place = Math.floor(Math.log10(step) + 1e-9); // of the digit that they differ in
  if (greatest >= 1e7 || step < 1e-5) return marks.map((one) => exponential(one, place));
  const digits = Math.max(0, -place);
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: greatest >= 10_000 };
  return marks.map((one) => one.toLocaleString(language, options));
}

/**
 * @param {number} value
 * @param {number} place
 */
function exponential(value, place) {
  if (value === 0) return "0";
  return value.toExponential(Math.max(0, Math.min(8, Math.floor(Math.log10(Math.abs(value))) - place)));
}
