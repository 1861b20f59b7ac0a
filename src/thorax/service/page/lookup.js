// Windows: which values are shown from black to white, and the gray of each value.

/**
 * Return the window that an image is first shown with. Until it is changed, the grays are exactly those that
 * the model received: `table` of the image, also where a lookup table of the file made it.
 */
export function firstWindow(image) {
  return { ...(image.window ?? equivalent(image)), inverted: image.inverted, changed: false };
}

/** Return the window closest to a lookup table: from its last black to its first white. */
function equivalent(image) {
  const { table, low, high } = image;
  const between = (gray) => gray > 0 && gray < 255;
  let from = low;
  let to = high;
  while (from < to && !between(table[from])) from += 1;
  while (to > from && !between(table[to])) to -= 1;
  return fromTo(image, from, to);
}

/** Return a linear window from one stored number to another. */
function fromTo(image, from, to) {
  const [a, b] = [from, to].map((number) => image.slope * number + image.intercept);
  return { center: (a + b) / 2, width: Math.abs(b - a), function: "LINEAR_EXACT" };
}

/** Return the extent of an image's values, in the unit of its file. */
export const extent = (image) => Math.abs(image.slope) * Math.max(1, image.high - image.low);

/** Return a window with center and width changed, kept to values that still show something. */
export function withWindow(image, window, { center = window.center, width = window.width }) {
  const all = extent(image);
  const middle = image.slope * ((image.low + image.high) / 2) + image.intercept;
  const kept = {
    center: Math.min(Math.max(center, middle - all), middle + all),
    width: Math.min(Math.max(width, Math.max(all / 500, Math.abs(image.slope) * 2)), 4 * all),
  };
  return { ...window, ...kept, changed: true };
}

/** Return the gray of every stored number. */
export function grays(image, window) {
  const { table, padding } = image;
  const shown = window.changed ? windowed(image, window) : table;
  if (!window.changed && window.inverted === image.inverted) return shown;
  const inverts = window.changed ? window.inverted : true; // the table has the image's own inversion
  const result = inverts ? shown.map((gray) => 255 - gray) : shown;
  if (padding) result.fill(0, padding[0], padding[1] + 1);
  return result;
}

/** Apply DICOM's functions (PS3.3 C.11.2.1), before any inversion. */
function windowed({ table, slope, intercept }, { center, width, function: shape }) {
  const result = new Uint8Array(table.length);
  const [middle, span] = shape === "LINEAR" ? [center - 0.5, width - 1] : [center, width];
  const sigmoid = shape === "SIGMOID";
  for (let number = 0; number < result.length; number += 1) {
    const offset = slope * number + intercept - middle;
    const share = sigmoid ? 0.5 + 0.5 * Math.tanh((2 * offset) / span) : span > 0 ? offset / span + 0.5 : +(offset > 0);
    result[number] = Math.min(Math.max(share, 0), 1) * 255 + 0.5;
  }
  return result;
}

/** What the list of windows offers: each with its words and the shares of pixels below and above it. */
export const PRESETS = [
  { name: "As received" },
  { name: "Full range", shares: [0, 1] },
  { name: "Middle 90 %", shares: [0.05, 0.95] },
  { name: "Darker half", shares: [0.02, 0.5] },
  { name: "Brighter half", shares: [0.5, 0.98] },
];

/** Return the window of a preset, measured on the image's own pixels. */
export function preset(image, window, { shares }) {
  if (!shares) return firstWindow(image);
  const counts = (image.counts ??= counted(image));
  const [from, to] = shares.map((share) => quantile(image, counts, share));
  return { ...withWindow(image, window, fromTo(image, from, to)), function: "LINEAR_EXACT" };
}

/** Count the values of some pixels, those of the smallest copy with at least 256 columns. */
function counted({ levels, padding, table }) {
  const level = levels.findLast(({ columns }) => columns >= 256) ?? levels[0];
  const counts = new Uint32Array(table.length);
  for (const value of level.values) counts[value] += 1;
  if (padding) counts.fill(0, padding[0], padding[1] + 1);
  return counts;
}

function quantile({ low, high }, counts, share) {
  if (share === 0) return low;
  if (share === 1) return high;
  const wanted = share * counts.reduce((sum, count) => sum + count, 0);
  let sum = 0;
  for (let number = low; number <= high; number += 1) {
    sum += counts[number];
    if (sum >= wanted) return number;
  }
  return high;
}
