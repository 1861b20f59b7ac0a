// The map of a finding: the exact class activation map on the radiograph, as the service answers it. The twin of
// thorax.explain and of thorax.service.map_values.

import { contourLines } from "./contours.js";
import { ImageError } from "./errors.js";
import { range } from "./grays.js";
import { placement, roundHalfEven } from "./resize.js";

const LEVEL = 0.5; // of the maximum: where the box's region begins, and the contour lies
const LONGEST = 256; // most values along a side
const MOST = 65534;
const FLAT = 1e-5; // differences that count as equal, as a fraction of the map's range

/** Return the map of a finding; `cams` are those of the members. */
export function mapOf(model, radiograph, cams, finding) {
  if (cams.some((cam) => cam === null)) {
    throw new ImageError("this model has no exact map, and no other is computed in a browser; explain it with Thorax");
  }
  const { rows, columns } = radiograph;
  const { size } = model.preparation;
  const square = meanMap(model, cams, finding);
  const place = placement(rows, columns, model.preparation);
  const seen = part(square, size, insideOf(place));
  const [, highest] = range(seen.values);
  const mean = seen.values.reduce((sum, value) => sum + value, 0) / seen.values.length;
  const region = highest > 0 ? regionBox(seen, highest) : null;
  const axes = axesOf(place);
  const [x, y] = peak(seen, highest);
  const scale = { low: region ? 0 : mean, high: highest, relative: region === null };
  return {
    finding,
    method: "cam",
    highest,
    place: region && [backOn(axes.across, x + seen.left), backOn(axes.down, y + seen.top)],
    box: region && boxBack(region, seen, axes),
    notes: notesOn(model, finding, region),
    rows,
    columns,
    map: { ...described(square, size, axes, scale), unit: "logits", colors: model.colors },
  };
}

/** Return the members' mean map of the prepared square. */
function meanMap({ members, preparation: { size } }, cams, finding) {
  const total = new Float32Array(size * size);
  members.forEach((member, at) => {
    const { values, shape } = cams[at];
    const [, height, width] = shape;
    const number = member.findings.indexOf(finding);
    const cam = values.subarray(number * height * width, (number + 1) * height * width);
    const side = member.input_size;
    const weights = (count, places) => interpolation(count, side, places);
    let map = separable(cam, weights(height, member.places), weights(width, member.places));
    if (side !== size) map = separable(map, interpolation(side, size, null), interpolation(side, size, null));
    map.forEach((value, pixel) => (total[pixel] += Math.fround(member.weight) * value));
  });
  return total;
}

/** Return the weight of each of `count` places at each of `size` pixels along an axis, row by row. */
function interpolation(count, size, places) {
  const step = places?.step ?? size / count;
  const start = places?.start ?? step / 2;
  return Array.from({ length: size }, (_, at) => {
    const point = Math.min(Math.max((at + 0.5 - start) / step, 0), count - 1);
    return Float64Array.from({ length: count }, (_, place) => Math.max(1 - Math.abs(point - place), 0));
  });
}

/** Return rows @ map @ columns.T as float32. */
function separable(map, rows, columns) {
  const [height, width] = [rows[0].length, columns[0].length];
  const between = new Float64Array(rows.length * width);
  rows.forEach((weights, row) => {
    for (let from = 0; from < height; from += 1) {
      if (weights[from] === 0) continue;
      for (let column = 0; column < width; column += 1) {
        between[row * width + column] += weights[from] * map[from * width + column];
      }
    }
  });
  const result = new Float32Array(rows.length * columns.length);
  for (let row = 0; row < rows.length; row += 1) {
    columns.forEach((weights, column) => {
      let sum = 0;
      for (let from = 0; from < width; from += 1) {
        if (weights[from] !== 0) sum += weights[from] * between[row * width + from];
      }
      result[row * columns.length + column] = sum;
    });
  }
  return result;
}

// ---- the square and the radiograph ----

/** Return the edges of the image in the prepared square, without the bars that pad it. */
function insideOf(place) {
  const { across, down } = axesOf(place);
  const edges = ({ length, scale, offset }) =>
    [0, length].map((end) => roundHalfEven(Math.min(Math.max(end * scale + offset, 0), place.size)));
  const [top, bottom] = edges(down);
  const [left, right] = edges(across);
  return { top, bottom, left, right };
}

/** Return the axes of the radiograph in the square: a place there is scale * its place in the radiograph + offset. */
function axesOf({ rows, columns, top, left, sourceRows, sourceColumns, height, width, above, before }) {
  const axis = (length, scale, offset) => ({ length, scale, offset });
  const [down, across] = [height / sourceRows, width / sourceColumns];
  return { down: axis(rows, down, above - top * down), across: axis(columns, across, before - left * across) };
}

/** Return a place of the square in the radiograph, kept within it. */
const backOn = ({ length, scale, offset }, position) => Math.min(Math.max((position - offset) / scale, 0), length);

function part(map, size, { top, bottom, left, right }) {
  const [rows, columns] = [bottom - top, right - left];
  const values = new Float32Array(rows * columns);
  for (let row = 0; row < rows; row += 1) {
    const from = (top + row) * size + left;
    values.set(map.subarray(from, from + columns), row * columns);
  }
  return { values, rows, columns, top, left };
}

function boxBack([x, y, width, height], { left, top }, { across, down }) {
  const [x0, x1] = [x, x + width].map((edge) => backOn(across, edge + left));
  const [y0, y1] = [y, y + height].map((edge) => backOn(down, edge + top));
  return [x0, y0, x1 - x0, y1 - y0];
}

// ---- the maximum and the region around it ----

/** Return x and y of the maximum; of several, those of the one closest to their mean. */
function peak({ values, columns }, highest) {
  const [least] = range(values);
  const limit = highest - FLAT * (highest - least);
  const points = [];
  values.forEach((value, at) => {
    if (value >= limit) points.push([(at % columns) + 0.5, Math.floor(at / columns) + 0.5]);
  });
  const mean = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis], 0) / points.length);
  const away = ([x, y]) => Math.hypot(x - mean[0], y - mean[1]);
  return points.reduce((nearest, point) => (away(point) < away(nearest) ? point : nearest));
}

/** Return x, y, width and height of the connected region around the maximum that reaches half of it. */
function regionBox({ values, rows, columns }, highest) {
  const limit = LEVEL * highest;
  const pending = [values.indexOf(highest)];
  const inside = new Uint8Array(values.length);
  inside[pending[0]] = 1;
  let [left, right, top, bottom] = [columns, 0, rows, 0];
  while (pending.length > 0) {
    const at = pending.pop();
    const [row, column] = [Math.floor(at / columns), at % columns];
    [left, right] = [Math.min(left, column), Math.max(right, column + 1)];
    [top, bottom] = [Math.min(top, row), Math.max(bottom, row + 1)];
    const sides = [column > 0 && at - 1, column + 1 < columns && at + 1, row > 0 && at - columns, row + 1 < rows && at + columns];
    for (const side of sides) {
      if (side === false || inside[side] || !(values[side] >= limit)) continue;
      inside[side] = 1;
      pending.push(side);
    }
  }
  return [left, top, right - left, bottom - top];
}

// ---- as the page draws it ----

/** Return the map over the radiograph, reduced, as 16-bit numbers, with the contour at half of its scale. */
function described(square, size, { down, across }, scale) {
  const [rows, columns] = [down.length, across.length];
  const factor = Math.min(1, LONGEST / Math.max(rows, columns));
  const [height, width] = [rows, columns].map((length) => Math.max(1, roundHalfEven(length * factor)));
  const grid = separable(square, reducedAxis(down, height, size), reducedAxis(across, width, size));
  const [least, most] = range(grid.filter((value) => !Number.isNaN(value)));
  const numbers = Uint16Array.from(grid, (value) =>
    Number.isNaN(value) ? 0 : roundHalfEven(((value - least) / (most - least || 1)) * MOST) + 1
  );
  const filled = grid.map((value) => (Number.isNaN(value) ? least : value));
  return {
    scale,
    rows: height,
    columns: width,
    least,
    most,
    values: base64(new Uint8Array(numbers.buffer)),
    contour: contour({ values: filled, rows: height, columns: width }, scale, rows, columns),
  };
}

/**
 * Return the weight of each place of the square at each of `count` means of a radiograph's axis: its pixels are
 * interpolated, and then averaged over equal parts. A part that the network did not see in full has NaN.
 */
function reducedAxis({ length, scale, offset }, count, size) {
  const pixels = Array.from({ length }, (_, at) => {
    const inside = (at + 0.5) * scale + offset;
    const cell = Math.min(Math.max(inside - 0.5, 0), size - 1);
    const first = Math.floor(cell);
    return { first, second: Math.min(first + 1, size - 1), weight: cell - first, seen: inside >= 0 && inside <= size };
  });
  return Array.from({ length: count }, (_, number) => {
    const step = length / count;
    const center = (number + 0.5) * step;
    const reach = 0.5 * Math.max(step, 1);
    const [from, to] = [Math.max(0, Math.trunc(center - reach + 0.5)), Math.min(length, Math.trunc(center + reach + 0.5))];
    const weights = new Float64Array(size);
    for (const { first, second, weight, seen } of pixels.slice(from, to)) {
      if (!seen) return new Float64Array(size).fill(NaN);
      weights[first] += (1 - weight) / (to - from);
      weights[second] += weight / (to - from);
    }
    return weights;
  });
}

function contour(grid, { low, high }, rows, columns) {
  if (!(high > low)) return [];
  const [across, down] = [columns / grid.columns, rows / grid.rows];
  const tenth = (number) => roundHalfEven(number * 10) / 10;
  return contourLines(grid, low + LEVEL * (high - low)).map((line) =>
    line.map(([x, y]) => [tenth((x + 0.5) * across), tenth((y + 0.5) * down)])
  );
}

function base64(bytes) {
  let text = "";
  for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
  return btoa(text);
}

function notesOn({ notes, labels }, finding, region) {
  return region ? notes : [...notes, `no location in the image supports ${labels[finding]} (cam)`];
}
