// Gray values: from colors, from values of too few bits, and what is odd about them. Twins of
// thorax.imaging.color, .gray_range and .png in Python.

const SIDE = 256; // at most this many rows and columns are looked at, in equal steps
const TINT = 0.1; // part of white by which the channels of a gray pixel may differ
export const NEARLY_ALL = 0.99;
const NARROW = 1 / 16;
const SHALLOW = 1 << 14;

export const percent = (share, digits = 1) => `${(100 * share).toFixed(digits)} %`;
export const counted = (number) => number.toLocaleString("en-US");

/** Return the largest value of the type of an array. */
export const whiteOf = (values) => (values.BYTES_PER_ELEMENT === 1 ? 255 : 65535);

/** Return BT.601 luminance of interleaved colors, with Pillow's integer weights; equal channels are unchanged. */
export function luminance(samples, channels) {
  const gray = new samples.constructor(samples.length / channels);
  for (let at = 0, from = 0; at < gray.length; at += 1, from += channels) {
    // 16-bit products exceed 32 bits, so no shift here.
    gray[at] = Math.floor((samples[from] * 19595 + samples[from + 1] * 38470 + samples[from + 2] * 7471 + 0x8000) / 65536);
  }
  return gray;
}

/** Composite gray over black, in place; `alpha(at)` is the opacity of a pixel, of at most `full`. */
export function overBlack(gray, alpha, full) {
  const half = Math.floor(full / 2);
  for (let at = 0; at < gray.length; at += 1) gray[at] = Math.floor((gray[at] * alpha(at) + half) / full);
  return gray;
}

/** Return the share of colored pixels among those at some rows and columns. */
function coloredAt(samples, channels, columns, downs, acrosses, white) {
  let colored = 0;
  for (const row of downs) {
    for (const column of acrosses) {
      const at = (row * columns + column) * channels;
      const [red, green, blue] = [samples[at], samples[at + 1], samples[at + 2]];
      if (Math.max(red, green, blue) - Math.min(red, green, blue) > TINT * white) colored += 1;
    }
  }
  return colored / (downs.length * acrosses.length);
}

/** Return the share of pixels that are not gray, looked at in equal steps as `colored_share` does. */
export function coloredShare(samples, channels, rows, columns) {
  const [downs, acrosses] = [rows, columns].map((length) => steps(length, Math.ceil(length / SIDE)));
  return coloredAt(samples, channels, columns, downs, acrosses, whiteOf(samples));
}

/** Return the same of 8-bit colors, looked at where Pillow's nearest-neighbor resize does. */
export function coloredShareOfPicture(samples, channels, rows, columns) {
  const [downs, acrosses] = [rows, columns].map((length) => {
    const count = Math.min(length, SIDE);
    return Array.from({ length: count }, (_, at) => Math.floor((at + 0.5) * (length / count)));
  });
  return coloredAt(samples, channels, columns, downs, acrosses, 255);
}

const steps = (length, step) => Array.from({ length: Math.ceil(length / step) }, (_, at) => at * step);

/** Return pixels of at most 256 rows and columns, in equal steps. */
export function sampled(values, rows, columns) {
  const [downs, acrosses] = [rows, columns].map((length) => steps(length, Math.ceil(length / SIDE)));
  const some = new values.constructor(downs.length * acrosses.length);
  let at = 0;
  for (const row of downs) for (const column of acrosses) some[at++] = values[row * columns + column];
  return some;
}

/** Return the share of the commonest value. */
export function commonest(values) {
  const counts = new Uint32Array(65536);
  let most = 0;
  for (const value of values) most = Math.max(most, (counts[value] += 1));
  return most / values.length;
}

/** Return the smallest and the largest value. */
export function range(values) {
  let [low, high] = [values[0], values[0]];
  for (let at = 1; at < values.length; at += 1) {
    if (values[at] < low) low = values[at];
    else if (values[at] > high) high = values[at];
  }
  return [low, high];
}

/** Spread 16-bit grays that fit into 14 bits or fewer over the range of their type; return what was assumed. */
export function stretched(pixels) {
  if (pixels.BYTES_PER_ELEMENT === 1) return [pixels, ""];
  const [low, high] = range(pixels);
  if (high >= SHALLOW || low === high) return [pixels, ""];
  const table = Uint16Array.from({ length: high + 1 }, (_, gray) =>
    Math.floor(((Math.max(gray, low) - low) / (high - low)) * 65535 + 0.5)
  );
  const bits = 32 - Math.clz32(high);
  return [
    pixels.map((gray) => table[gray]),
    `its largest 16-bit value is ${high}, where 65535 is white, so it was assumed to hold values of ${bits} bits, ` +
      `and its range, ${low} to ${high}, was spread from black to white`,
  ];
}

/** Return what is odd about an image of one gray, or of few; empty for a picture. */
export function doubtsAbout(pixels, rows, columns) {
  const [low, high] = range(pixels);
  const white = whiteOf(pixels);
  if (low === high) return [`every pixel has the same gray (${low} of ${white}), so there is nothing to see`];
  const share = commonest(sampled(pixels, rows, columns));
  if (share >= NEARLY_ALL) {
    return [`${percent(share)} of the pixels have the same gray, so there is next to nothing to see`];
  }
  if (high - low < NARROW * white) {
    const narrow = `its grays go only from ${percent(low / white, 0)} to ${percent(high / white, 0)} of white`;
    return [`${narrow}, so there is little to see; the range of its values may have been lost`];
  }
  return [];
}
