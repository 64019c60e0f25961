// Format numbers of bytes.

const BYTE_UNITS = ["B", "kB", "MB", "GB", "TB"];

/**
 * Format a number of bytes with a decimal unit and three digits.
 * @param {number} bytes
 * @param {string} language
 */
export function formatBytes(bytes, language) {
  let unitIndex = 0;
  let value = bytes;
  while (value >= 999.5 && unitIndex < BYTE_UNITS.length - 1) {
    value /= 1000;
    unitIndex++;
  }
  return `${value.toLocaleString(language, { maximumSignificantDigits: 3 })} ${BYTE_UNITS[unitIndex]}`;
}
