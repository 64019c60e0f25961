// Where an axis has its marks: as many as there is room for and three at least, at round numbers, or at whole minutes, days, months, years.
const FEWEST = 3;
const DAY = 86_400_000; // milliseconds
const EPOCH = 2_440_587.5; // Julian date of 1970-01-01
const STEPS = [1000, 5000, 15_000, 60_000, 300_000, 900_000, 1_800_000, DAY / 24, DAY / 12, DAY / 8, DAY / 4, DAY / 2, DAY, 2 * DAY, 5 * DAY, 10 * DAY];
const MONTHS = [1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200, 6000, 12_000];

/** Of several ways to set marks, the finer first: the first that gives no more than there is room for, but never fewer than three if one does. */
function chosen(ways, most) {
  let finer = [];
  for (const way of ways) {
    const marks = way();
    if (marks === null) continue; // far too many to be counted
    if (marks.length <= most) return marks.length >= FEWEST || !finer.length ? marks : finer;
    finer = marks;
  }
  return finer;
}

function multiples(low, high, step) {
  if ((high - low) / step > 200) return null;
  const found = [];
  for (let number = Math.ceil(low / step - 1e-9); number * step <= high + step * 1e-9; number++) found.push(number * step);
  return found;
}

/** Marks between two numbers: multiples of 1, 2 or 5 times a power of ten. */
export function numbers(low, high, most) {
  const least = 10 ** Math.floor(Math.log10((high - low) / Math.max(most, FEWEST)) - 1);
  if (!(least > 0 && Number.isFinite(least))) return [low];
  const ways = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].map((times) => () => multiples(low, high, least * times));
  return chosen(ways, Math.max(most, FEWEST)).map((one) => Number(one.toPrecision(12)));
}

/** Marks between two Julian dates. */
export function times(low, high, most) {
  const [begin, end] = [low, high].map((one) => (one - EPOCH) * DAY);
  const ways = [...STEPS.map((step) => () => multiples(begin, end, step)), ...MONTHS.map((step) => () => months(begin, end, step))];
  return chosen(ways, Math.max(most, FEWEST)).map((one) => one / DAY + EPOCH);
}

function months(begin, end, step) {
  const number = (time) => { const date = new Date(time); return date.getUTCFullYear() * 12 + date.getUTCMonth(); };
  const time = (month) => { const date = new Date(0); date.setUTCFullYear(Math.floor(month / 12), ((month % 12) + 12) % 12, 1); return date.getTime(); };
  const [first, last] = [number(begin), number(end)];
  if ((last - first) / step > 200) return null;
  const found = [];
  for (let month = Math.ceil(first / step) * step; month <= last; month += step) if (time(month) >= begin && time(month) <= end) found.push(time(month));
  return found;
}

/** What stands at marks of time: no more of the date than they differ in; below it once the day of hours, the year of days. */
export function dated(marks) {
  const texts = marks.map((one) => new Date(Math.round((one - EPOCH) * DAY)).toISOString());
  if (texts.every((one) => one.endsWith("-01-01T00:00:00.000Z"))) return texts.map((one) => one.slice(0, -20));
  if (texts.every((one) => one.endsWith("-01T00:00:00.000Z"))) return texts.map((one) => one.slice(0, -17));
  const whole = texts.every((one) => one.endsWith("T00:00:00.000Z"));
  const minutes = texts.every((one) => one.endsWith(":00.000Z"));
  const [upper, lower] = whole ? [(one) => one.slice(-19, -14), (one) => one.slice(0, -20)] : [(one) => one.slice(-13, minutes ? -8 : -5), (one) => one.slice(0, -14)];
  return texts.map((one, at) => (at && lower(one) === lower(texts[at - 1]) ? upper(one) : `${upper(one)}\n${lower(one)}`));
}

/** What stands at marks of numbers: as many digits as tell them apart. */
export function counted(marks, language) {
  const step = marks.length > 1 ? Math.abs(marks[1] - marks[0]) : Math.abs(marks[0]) || 1;
  const greatest = Math.max(...marks.map(Math.abs));
  if (greatest >= 1e7 || step < 1e-5) return marks.map((one) => (one === 0 ? "0" : one.toExponential(Math.max(0, Math.min(8, Math.floor(Math.log10(Math.abs(one))) - Math.floor(Math.log10(step) + 1e-9))))));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return marks.map((one) => one.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: greatest >= 10_000 }));
}
