// Format and parse times as seconds since 1970 (UTC).

const MICROSECONDS_PER_SECOND = 1e6;

/**
 * Format a time in ISO 8601, with microseconds if it has any.
 * @param {number} time
 */
export function formatTime(time) {
  const microseconds = Math.round(time * MICROSECONDS_PER_SECOND);
  const second = Math.floor(microseconds / MICROSECONDS_PER_SECOND);
  const fraction = String(microseconds - second * MICROSECONDS_PER_SECOND)
    .padStart(6, "0")
    .replace(/0+$/, "");
  return new Date(second * 1000).toISOString().slice(0, -5) + (fraction && `.${fraction}`);
}

/**
 * Parse a time in UTC; NaN if the text is no time.
 * @param {string} text
 */
export function parseTime(text) {
  const match = /^\s*(-?\d{4,6})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(\.\d+)?)?)?)?)?)?Z?\s*$/.exec(
    text,
  );
  if (!match) return NaN;
  const [year, month = 1, day = 1, hour = 0, minute = 0, second = 0] = match
    .slice(1, 7)
    .map((part) => part && Number(part))
    .map((number) => number || undefined);
  return (
    Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second)) / 1000 +
    Number(match[7] ?? 0)
  );
}
