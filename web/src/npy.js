// Reads what numpy.save writes: a table of numbers, rows first; float32, int16 or bytes, little-endian.

/** @typedef {{width: number, height: number, values: Float32Array | Int16Array | Uint8Array}} Numbers */

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
  const kind = /'descr': '[<|](f4|i2|u1)'/.exec(head)?.[1];
  if (!width || !kind || head.includes("'fortran_order': True")) throw new Error(`no table of numbers: ${head}`);
  const count = Number(width) * Number(height);
  const Kind = { f4: Float32Array, i2: Int16Array, u1: Uint8Array }[kind] ?? Float32Array;
  const values = new Kind(buffer, start, count);
  return { width: Number(width), height: Number(height), values };
}
