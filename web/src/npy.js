// Parse arrays that numpy.save writes: two-dimensional, C order, little-endian float32, int16 or uint8.

/** @typedef {{width: number, height: number, values: Float32Array | Int16Array | Uint8Array}} NumberTable */

/**
 * Parse an NPY file.
 * @param {ArrayBuffer} buffer
 * @returns {NumberTable}
 */
export function parseNpy(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength < 12 || view.getUint32(0) !== 0x934e554d) throw new Error("no NPY");
  const isVersion2 = view.getUint8(6) > 1;
  const headerStart = isVersion2 ? 12 : 10;
  const dataStart = headerStart + (isVersion2 ? view.getUint32(8, true) : view.getUint16(8, true));
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, headerStart, dataStart - headerStart));
  const [, height, width] = /'shape': \((\d+), (\d+)\)/.exec(header) ?? [];
  const typeCode = /'descr': '[<|](f4|i2|u1)'/.exec(header)?.[1];
  if (!width || !typeCode || header.includes("'fortran_order': True"))
    throw new Error(`no table of numbers: ${header}`);
  const count = Number(width) * Number(height);
  const ArrayType = { f4: Float32Array, i2: Int16Array, u1: Uint8Array }[typeCode] ?? Float32Array;
  const values = new ArrayType(buffer, dataStart, count);
  return { width: Number(width), height: Number(height), values };
}
