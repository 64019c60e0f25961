// Bytes as people say them.

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/**
 * @param {number} bytes
 * @param {string} language
 */
export function size(bytes, language) {
  let at = 0;
  let value = bytes;
  while (value >= 999.5 && at < UNITS.length - 1) {
    value /= 1000;
    at++;
  }
  return `${value.toLocaleString(language, { maximumSignificantDigits: 3 })} ${UNITS[at]}`;
}
