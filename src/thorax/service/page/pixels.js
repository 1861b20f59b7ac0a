// The pixels of one image as its file stores them, and the gray that each value becomes.

const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/**
 * Return the image in an answer of v1/pixels: a line of JSON, one gray for each value, and the values.
 *
 * `values` has one number per pixel, `table` the gray of each number as the model received it, and a number
 * means `slope * number + intercept` in the unit of the file.
 */
export function readPixels(buffer) {
  const bytes = new Uint8Array(buffer);
  const end = bytes.indexOf(10) + 1;
  const image = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const table = bytes.slice(end, end + image.grays);
  const stored = bytes.subarray(end + image.grays);
  const decode = image.coding === "delta" ? summed : image.bytes === 1 ? widened : words;
  const values = decode(stored, image);
  const [low, high] = range(values, image.padding);
  return { ...image, table, values, low, high, levels: [{ values, columns: image.columns, rows: image.rows }] };
}

/** Return how many bytes of memory an image takes, with its smaller copies. */
export const sizeOf = (image) => image.values.byteLength * (4 / 3);

const widened = (stored) => Uint16Array.from(stored);

function words(stored) {
  if (LITTLE) return new Uint16Array(stored.slice().buffer);
  return Uint16Array.from({ length: stored.length / 2 }, (_, at) => stored[2 * at] | (stored[2 * at + 1] << 8));
}

/** Undo the differences along rows; of 16 bits, all low bytes come before all high ones. */
function summed(stored, { rows, columns, bytes }) {
  const count = rows * columns;
  const values = new Uint16Array(count);
  const mask = bytes === 1 ? 0xff : 0xffff;
  for (let start = 0; start < count; start += columns) {
    let value = 0;
    for (let at = start; at < start + columns; at += 1) {
      value = (value + (bytes === 1 ? stored[at] : stored[at] | (stored[count + at] << 8))) & mask;
      values[at] = value;
    }
  }
  return values;
}

function range(values, padding) {
  const [from, to] = padding ?? [-1, -1];
  let low = 65535;
  let high = 0;
  for (let at = 0; at < values.length; at += 1) {
    const value = values[at];
    if (value >= from && value <= to) continue;
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low <= high ? [low, high] : [0, 0];
}

/** Return the copy of an image, reduced by a power of two, that a scale of at most 1 is drawn from. */
export function levelFor(image, scale) {
  let number = 0;
  while (scale * 2 ** (number + 1) <= 1) {
    const { rows, columns } = image.levels[number];
    if (rows < 2 || columns < 2) break;
    number += 1;
    image.levels[number] ??= halved(image.levels[number - 1]);
  }
  return { ...image.levels[number], reduced: 2 ** number };
}

/** Return a level with each block of 2 x 2 pixels averaged; the last ones of an odd length are alone. */
function halved({ values, columns, rows }) {
  const width = (columns + 1) >> 1;
  const height = (rows + 1) >> 1;
  const averages = new Uint16Array(width * height);
  const whole = columns >> 1;
  for (let row = 0; row < height; row += 1) {
    const above = 2 * row * columns;
    const below = Math.min(2 * row + 1, rows - 1) * columns;
    const start = row * width;
    for (let column = 0; column < whole; column += 1) {
      const at = 2 * column;
      averages[start + column] =
        (values[above + at] + values[above + at + 1] + values[below + at] + values[below + at + 1] + 2) >> 2;
    }
    if (whole < width) averages[start + whole] = (values[above + columns - 1] + values[below + columns - 1] + 1) >> 1;
  }
  return { values: averages, columns: width, rows: height };
}
