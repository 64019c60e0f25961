// Times as they are written, and seconds since 1970 (UTC).

const SECOND = 1e6;

/**
 * Write a time of seconds since 1970, in UTC, to the microsecond.
 * @param {number} time
 */
export function iso(time) {
  const micros = Math.round(time * SECOND);
  const second = Math.floor(micros / SECOND);
  const part = String(micros - second * SECOND)
    .padStart(6, "0")
    .replace(/0+$/, "");
  return new Date(second * 1000).toISOString().slice(0, -5) + (part && `.${part}`);
}

/**
 * Read a time in UTC; NaN: it is none.
 * @param {string} text
 */
export function seconds(text) {
  const found = /^\s*(-?\d{4,6})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d)(\.\d+)?)?)?)?)?)?Z?\s*$/.exec(
    text,
  );
  if (!found) return NaN;
  const [year, month = 1, day = 1, hour = 0, minute = 0, second = 0] = found
    .slice(1, 7)
    .map((one) => one && Number(one))
    .map((one) => one || undefined);
  return (
    Date.UTC(Number(year), Number(month) - 1, Number(day), Number(hour), Number(minute), Number(second)) / 1000 +
    Number(found[7] ?? 0)
  );
}
