// What the input gate sees of an image: the twin of thorax.inference.gate_features.

import { resampled } from "./resize.js";

const SIDE = 64;
const CELLS = 8;
const BLOCKS = 16;
const DIRECTIONS = 8;
const SAMPLED_SIDE = 512;
const SAME_GRAY = 8;
const WIDEST_BORDER = 0.4;
const EDGES = DIRECTIONS * CELLS * CELLS;

/** Return the thumbnail of an image; `fit` is how the bundle fits one that is not square. */
export function thumbnail({ pixels, rows, columns }, fit) {
  let [top, left, height, width] = [0, 0, rows, columns];
  if (fit === "crop") {
    height = width = Math.min(rows, columns);
    [top, left] = [(rows - height) >> 1, (columns - width) >> 1];
  }
  const step = Math.max(1, Math.floor(Math.min(height, width) / SAMPLED_SIDE));
  const shift = pixels.BYTES_PER_ELEMENT === 1 ? 0 : 8;
  const some = { rows: Math.ceil(height / step), columns: Math.ceil(width / step) };
  some.values = new Uint8Array(some.rows * some.columns);
  for (let row = 0, at = 0; row < some.rows; row += 1) {
    const begin = (top + row * step) * columns + left;
    for (let column = 0; column < some.columns; column += 1, at += 1) {
      some.values[at] = pixels[begin + column * step] >> shift;
    }
  }
  return resampled(withoutBorders(some), SIDE, SIDE, "box").values;
}

/** Cut away rows and columns at the edges that have one gray. */
function withoutBorders({ values, rows, columns }) {
  const spreads = (count, length, apart, along) =>
    Array.from({ length: count }, (_, number) => {
      let [low, high] = [255, 0];
      for (let at = number * apart, left = length; left > 0; at += along, left -= 1) {
        if (values[at] < low) low = values[at];
        if (values[at] > high) high = values[at];
      }
      return high - low;
    });
  const [top, bottom] = picture(spreads(rows, columns, columns, 1));
  const [left, right] = picture(spreads(columns, rows, 1, columns));
  const part = new Uint8Array((bottom - top) * (right - left));
  for (let row = top; row < bottom; row += 1) {
    part.set(values.subarray(row * columns + left, row * columns + right), (row - top) * (right - left));
  }
  return { values: part, rows: bottom - top, columns: right - left };
}

/** Return where the picture begins and ends along one axis, by the spread of each row's grays. */
function picture(spreads) {
  const varied = (spread) => spread > SAME_GRAY;
  const most = Math.trunc(WIDEST_BORDER * spreads.length);
  const first = spreads.findIndex(varied);
  if (first < 0) return [0, spreads.length];
  return [Math.min(first, most), Math.max(spreads.findLastIndex(varied) + 1, spreads.length - most)];
}

/** Return the numbers of a thumbnail: edges in 8 directions of 8 x 8 cells, and means of 16 x 16 blocks. */
export function features(image) {
  const grays = ranks(image);
  const [right, down] = differences(grays);
  const numbers = new Float32Array(EDGES + BLOCKS * BLOCKS);
  for (let direction = 0; direction < DIRECTIONS; direction += 1) {
    const angle = (2 * Math.PI * direction) / DIRECTIONS;
    const [cos, sin] = [Math.fround(Math.cos(angle)), Math.fround(Math.sin(angle))];
    const along = right.map((step, at) => Math.max(step * cos + down[at] * sin, 0));
    numbers.set(means(along, CELLS), direction * CELLS * CELLS);
  }
  const edges = numbers.subarray(0, EDGES);
  const mean = edges.reduce((sum, edge) => sum + edge, 0) / EDGES + 1e-3;
  edges.forEach((edge, at) => (edges[at] = Math.sqrt(edge / mean) - 1));
  numbers.set(means(grays, BLOCKS).map((block) => 3 * block), EDGES);
  return numbers;
}

/** Return the rank of each gray among the pixels, from -0.5 to 0.5; equal grays share theirs. */
function ranks(image) {
  const counts = new Uint32Array(256);
  for (const gray of image) counts[gray] += 1;
  let sum = 0;
  const middle = Float32Array.from(counts, (count) => {
    sum += count;
    return (sum - count / 2) / image.length - 0.5;
  });
  return Float32Array.from(image, (gray) => middle[gray]);
}

/** Return the differences between the neighbors of each pixel, along rows and along columns. */
function differences(grays) {
  const at = (row, column) => {
    const inside = (place) => Math.min(Math.max(place, 0), SIDE - 1);
    return grays[inside(row) * SIDE + inside(column)];
  };
  const [right, down] = [new Float32Array(grays.length), new Float32Array(grays.length)];
  for (let row = 0, pixel = 0; row < SIDE; row += 1) {
    for (let column = 0; column < SIDE; column += 1, pixel += 1) {
      right[pixel] = at(row, column + 1) - at(row, column - 1);
      down[pixel] = at(row + 1, column) - at(row - 1, column);
    }
  }
  return [right, down];
}

/** Return the means of cells x cells equal squares. */
function means(values, cells) {
  const size = SIDE / cells;
  const sums = new Float64Array(cells * cells);
  for (let row = 0, at = 0; row < SIDE; row += 1) {
    for (let column = 0; column < SIDE; column += 1, at += 1) {
      sums[Math.floor(row / size) * cells + Math.floor(column / size)] += values[at];
    }
  }
  return Float32Array.from(sums, (sum) => sum / (size * size));
}

/** Return the numbers of the image mirrored left to right. */
export function mirrored(numbers) {
  const result = new Float32Array(numbers.length);
  for (let direction = 0; direction < DIRECTIONS; direction += 1) {
    const from = (DIRECTIONS / 2 - direction + DIRECTIONS) % DIRECTIONS;
    mirrorSquare(numbers, result, from * CELLS * CELLS, direction * CELLS * CELLS, CELLS);
  }
  mirrorSquare(numbers, result, EDGES, EDGES, BLOCKS);
  return result;
}

function mirrorSquare(numbers, result, from, to, side) {
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      result[to + row * side + column] = numbers[from + row * side + side - 1 - column];
    }
  }
}

/** Return the numbers of the image turned counterclockwise by quarters of a full turn. */
export function turned(numbers, quarters) {
  let result = numbers;
  for (let turn = 0; turn < (quarters + 4) % 4; turn += 1) result = turnedOnce(result);
  return result;
}

function turnedOnce(numbers) {
  const result = new Float32Array(numbers.length);
  for (let direction = 0; direction < DIRECTIONS; direction += 1) {
    const from = (direction + DIRECTIONS / 4) % DIRECTIONS;
    turnSquare(numbers, result, from * CELLS * CELLS, direction * CELLS * CELLS, CELLS);
  }
  turnSquare(numbers, result, EDGES, EDGES, BLOCKS);
  return result;
}

function turnSquare(numbers, result, from, to, side) {
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      result[to + row * side + column] = numbers[from + column * side + side - 1 - row];
    }
  }
}

/** Return the numbers of the image whose black and white are exchanged. */
export function inverted(numbers) {
  const half = EDGES / 2;
  const result = new Float32Array(numbers.length);
  result.set(numbers.subarray(half, EDGES), 0);
  result.set(numbers.subarray(0, half), half);
  for (let at = EDGES; at < numbers.length; at += 1) result[at] = -numbers[at];
  return result;
}
