// Reads what numpy.save writes: a table of numbers, rows first; float32 or int16, little-endian.

/** @typedef {{width: number, height: number, values: Float32Array | Int16Array}} Numbers */

/**
 * @param {ArrayBuffer} buffer
 * @returns {Numbers}
 */
export function npy(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 12 || view.getUint32(0) !== 0x934e554d) throw new Error("no NPY");
  const long = view.getUint8(6) > 1;
  const begin = long ? 12 : 10;
  const start = begin + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const head = new TextDecoder("latin1").decode(new Uint8Array(buffer, begin, start - begin));
  const [, height, width] = /'shape': \((\d+), (\d+)\)/.exec(head) ?? [];
  const kind = /'descr': '<(f4|i2)'/.exec(head)?.[1];
  if (!width || !kind || head.includes("'fortran_order': True")) throw new Error(`no table of numbers: ${head}`);
  const count = Number(width) * Number(height);
  const values = kind === "f4" ? new Float32Array(buffer, start, count) : new Int16Array(buffer, start, count);
  return { width: Number(width), height: Number(height), values };
}
