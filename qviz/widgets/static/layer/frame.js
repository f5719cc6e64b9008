// A frame is a u32 length, that many bytes of JSON, then the arrays (see scene.py).

const DTYPES = { u1: Uint8Array, i1: Int8Array, i4: Int32Array, f4: Float32Array, f8: Float64Array };

export function decode(view) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const body = 4 + view.getUint32(0, true);
  return JSON.parse(new TextDecoder().decode(bytes.subarray(4, body)), (_key, value) => {
    if (!value?.$) return value;
    const start = body + value.at;
    const array = new DTYPES[value.$](bytes.slice(start, start + value.n).buffer); // copied: aligned for any type
    array.shape = value.shape ?? [array.length];
    return array;
  });
}
