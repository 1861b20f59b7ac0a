// The twin of thorax.imaging.prepare, to the bit: Pillow's reduce and resize, in its own arithmetic.

const GAP = 2; // whole blocks are averaged first, down to at least twice the final size
const BITS = 22; // of a weight, for 8-bit images
const UINT16_PER_UINT8 = 257;

const FILTERS = {
  box: { support: 0.5, weigh: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { support: 1, weigh: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    support: 1,
    weigh: (x) => {
      const at = Math.abs(x) * Math.PI;
      if (at === 0) return 1;
      return Math.abs(x) >= 1 ? 0 : (Math.sin(at) / at) * (0.54 + 0.46 * Math.cos(at));
    },
  },
};

/** Return the square of 8-bit pixels that a network's input is cut from, row by row. */
export function prepare({ pixels, rows, columns }, { size, fit }) {
  const place = placement(rows, columns, { size, fit });
  const source = cut({ values: pixels, rows, columns }, place);
  const resized = resizeGray(source, place.height, place.width);
  const square = new Uint8Array(size * size);
  for (let row = 0; row < place.height; row += 1) {
    const line = resized.subarray(row * place.width, (row + 1) * place.width);
    square.set(line, (place.above + row) * size + place.before);
  }
  return square;
}

/** Return the region of the image that is used, and where it lies in the square. */
export function placement(rows, columns, { size, fit }) {
  let [top, left, sourceRows, sourceColumns] = [0, 0, rows, columns];
  let [height, width] = [size, size];
  if (fit === "pad") {
    const scale = size / Math.max(rows, columns);
    [height, width] = [rows, columns].map((length) => Math.max(1, roundHalfEven(length * scale)));
  } else if (fit === "crop") {
    sourceRows = sourceColumns = Math.min(rows, columns);
    [top, left] = [(rows - sourceRows) >> 1, (columns - sourceColumns) >> 1];
  }
  return {
    rows, columns, size, top, left, sourceRows, sourceColumns, height, width,
    above: (size - height) >> 1,
    before: (size - width) >> 1,
  };
}

/** Round as Python and NumPy do. */
export function roundHalfEven(number) {
  const below = Math.floor(number);
  const rest = number - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

function cut({ values, rows, columns }, { top, left, sourceRows, sourceColumns }) {
  if (sourceRows === rows && sourceColumns === columns) return { values, rows, columns };
  const part = new values.constructor(sourceRows * sourceColumns);
  for (let row = 0; row < sourceRows; row += 1) {
    const from = (top + row) * columns + left;
    part.set(values.subarray(from, from + sourceColumns), row * sourceColumns);
  }
  return { values: part, rows: sourceRows, columns: sourceColumns };
}

/** Resize to 8 bits; 16-bit images in floating point, rounded once at the end. */
function resizeGray(image, height, width) {
  if (image.values.BYTES_PER_ELEMENT === 1) return resizeImage(image, height, width).values;
  const values = Float32Array.from(image.values, (value) => value / UINT16_PER_UINT8);
  const resized = resizeImage({ ...image, values }, height, width).values;
  return Uint8Array.from(resized, (value) => Math.min(Math.max(Math.floor(Math.fround(value + 0.5)), 0), 255));
}

function resizeImage(image, height, width) {
  const { rows, columns } = image;
  if (rows === height && columns === width) return image;
  if (rows % height === 0 && columns % width === 0) return reduced(image, columns / width, rows / height);
  const kernel = rows >= height && columns >= width ? "hamming" : "bilinear";
  const [across, down] = [
    [columns, width],
    [rows, height],
  ].map(([from, to]) => Math.floor(from / to / GAP) || 1);
  if (across === 1 && down === 1) return resampled(image, height, width, kernel);
  const box = { right: columns / across, bottom: rows / down };
  return resampled(reduced(image, across, down), height, width, kernel, box);
}

/** Return the mean of each block; the last ones of an odd length are smaller. */
export function reduced({ values, rows, columns }, across, down) {
  const [height, width] = [Math.ceil(rows / down), Math.ceil(columns / across)];
  const means = new values.constructor(height * width);
  const whole = values.BYTES_PER_ELEMENT === 1;
  for (let row = 0; row < height; row += 1) {
    const [top, bottom] = [row * down, Math.min((row + 1) * down, rows)];
    for (let column = 0; column < width; column += 1) {
      const [left, right] = [column * across, Math.min((column + 1) * across, columns)];
      const count = (bottom - top) * (right - left);
      let sum = whole ? count >> 1 : 0;
      for (let y = top; y < bottom; y += 1) {
        for (let at = y * columns + left; at < y * columns + right; at += 1) sum += values[at];
      }
      // Pillow multiplies by a rounded reciprocal, which differs from a division for some sums.
      means[row * width + column] = whole ? Math.imul(sum, Math.floor(2 ** 24 / count)) >>> 24 : sum * (1 / count);
    }
  }
  return { values: means, rows: height, columns: width };
}

/** Resample along rows, then along columns; each pass rounds to the type of the image, as in Pillow. */
export function resampled(image, height, width, kernel, box = { right: image.columns, bottom: image.rows }) {
  const { support, weigh } = FILTERS[kernel];
  const weights = (length, end, size) => weightsOf(length, end, size, support, weigh, image.values);
  let result = image;
  if (width !== image.columns || box.right !== image.columns) {
    result = alongRows(result, width, weights(image.columns, box.right, width));
  }
  if (height !== image.rows || box.bottom !== image.rows) {
    result = alongColumns(result, height, weights(image.rows, box.bottom, height));
  }
  return result;
}

/** Return, for each pixel of the result, where its sources begin and their weights. */
function weightsOf(length, end, size, support, weigh, values) {
  const scale = end / size;
  const filter = Math.max(scale, 1);
  const reach = support * filter;
  const whole = values.BYTES_PER_ELEMENT === 1;
  return Array.from({ length: size }, (_, at) => {
    const center = (at + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - reach + 0.5));
    const last = Math.min(length, Math.trunc(center + reach + 0.5));
    const all = Array.from({ length: last - first }, (_, number) => weigh((number + first - center + 0.5) * (1 / filter)));
    const sum = all.reduce((total, weight) => total + weight, 0);
    const shares = all.map((weight) => (sum === 0 ? weight : weight / sum));
    return {
      first,
      shares: whole ? Int32Array.from(shares, (share) => Math.trunc(share * 2 ** BITS + 0.5)) : Float64Array.from(shares),
    };
  });
}

function alongRows({ values, rows, columns }, width, weights) {
  const result = new values.constructor(rows * width);
  const whole = values.BYTES_PER_ELEMENT === 1;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const { first, shares } = weights[column];
      const from = row * columns + first;
      let sum = whole ? 2 ** (BITS - 1) : 0;
      for (let at = 0; at < shares.length; at += 1) sum += values[from + at] * shares[at];
      result[row * width + column] = whole ? clipped(sum) : sum;
    }
  }
  return { values: result, rows, columns: width };
}

function alongColumns({ values, columns }, height, weights) {
  const result = new values.constructor(height * columns);
  const whole = values.BYTES_PER_ELEMENT === 1;
  for (let row = 0; row < height; row += 1) {
    const { first, shares } = weights[row];
    for (let column = 0; column < columns; column += 1) {
      let sum = whole ? 2 ** (BITS - 1) : 0;
      for (let at = 0; at < shares.length; at += 1) sum += values[(first + at) * columns + column] * shares[at];
      result[row * columns + column] = whole ? clipped(sum) : sum;
    }
  }
  return { values: result, rows: height, columns };
}

const clipped = (sum) => Math.min(Math.max(sum >> BITS, 0), 255);
