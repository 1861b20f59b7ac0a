// Numbers in a safetensors file, in half precision or as whole numbers.

/** Return the tensors of a file by name, as `{shape, values}`. */
export function readTensors(buffer) {
  const view = new DataView(buffer);
  const length = Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
  delete header.__metadata__;
  const begin = 8 + length;
  return Object.fromEntries(
    Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => [
      name,
      { shape, values: READERS[dtype](new DataView(buffer, begin + from, to - from)) },
    ])
  );
}

const READERS = {
  F16: (view) => numbers(Float32Array, view, 2, (at) => half(view.getUint16(at, true))),
  I32: (view) => numbers(Int32Array, view, 4, (at) => view.getInt32(at, true)),
};

function numbers(Kind, view, bytes, read) {
  const values = new Kind(view.byteLength / bytes);
  for (let at = 0; at < values.length; at += 1) values[at] = read(at * bytes);
  return values;
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15); // none of them is infinite, which the bundle checks
}
