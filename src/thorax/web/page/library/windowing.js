// Stored values to gray through modality LUT, VOI, inversion and padding: the twin of thorax.imaging.dicom.windowing.

import { commonest, NEARLY_ALL, sampled } from "./grays.js";
import { roundHalfEven } from "./resize.js";

const limited = (value) => Math.min(Math.max(value, 0), 1);

/**
 * Return the gray of each stored value: `table`, which of them are `padded`, the `window` shown from black to white,
 * the `intensity` in words and `doubts`. `codes` are bit patterns, 0 to 2 ** bits - 1.
 */
export function convert(rule, codes, rows, columns) {
  const count = 2 ** rule.bits;
  const half = count / 2;
  const stored = Float64Array.from({ length: count }, (_, code) => (rule.signed && code >= half ? code - count : code));
  const present = new Uint8Array(count);
  for (let at = 0; at < codes.length; at += 1) present[codes[at]] = 1;
  const some = sampled(codes, rows, columns);
  const { padded, doubts } = paddedValues(stored, rule.padding, some, present);
  const values = modalityOf(rule.modality, stored);
  let { brightness, how, window } = withoutVoi(values, rule.bits, present, padded);
  if (rule.voi !== null) {
    const shown = voiOf(rule.voi, values);
    if (losesTheImage(shown.brightness, brightness, some, padded)) {
      doubts.push(`its ${shown.how} shows nearly all pixels in one gray, so the image is shown without it (${how})`);
    } else {
      doubts.push(...shown.assumed);
      ({ brightness, how, window } = shown);
    }
  }
  if (rule.inverted) {
    brightness = brightness.map((share) => 1 - share);
    how = `${how}, inverted`;
  }
  const white = rule.bits <= 8 ? 255 : 65535;
  const Table = rule.bits <= 8 ? Uint8Array : Uint16Array;
  const table = Table.from(brightness, (share, code) => (padded[code] ? 0 : Math.floor(share * white + 0.5)));
  return { table, padded, window, intensity: how, doubts };
}

/** Return the brightness of each value in an image that does not say which ones to show, and the range. */
function withoutVoi(values, bits, present, padded) {
  const over = bits <= 8 ? values : values.filter((_, code) => present[code] && !padded[code]);
  let how = "range of the image without padding";
  if (bits <= 8) how = bits === 8 ? "8-bit as stored" : `full range of ${bits} bits`;
  const low = over.length > 0 ? over.reduce((least, value) => Math.min(least, value), Infinity) : 0;
  const high = over.length > 0 ? over.reduce((most, value) => Math.max(most, value), -Infinity) : 0;
  const brightness = values.map((value) => (high <= low ? 0 : limited((value - low) / (high - low))));
  return { brightness, how, window: { center: (low + high) / 2, width: high - low, function: "LINEAR_EXACT" } };
}

/** Return which values are padding, and what was assumed. */
function paddedValues(stored, padding, some, present) {
  const none = new Uint8Array(stored.length);
  if (padding === null) return { padded: none, doubts: [] };
  const [low, high] = padding;
  const padded = Uint8Array.from(stored, (value) => (value >= low && value <= high ? 1 : 0));
  const several = present.reduce((sum, is) => sum + is, 0) > 1;
  if (several && some.reduce((sum, code) => sum + padded[code], 0) / some.length >= NEARLY_ALL) {
    const span = low === high ? `${low}` : `${low} to ${high}`;
    return { padded: none, doubts: [`nearly all of its pixels are padding (${span}), so they were read as values`] };
  }
  return { padded, doubts: [] };
}

/** Return whether nearly all pixels are shown in one gray, although they have more than one. */
function losesTheImage(shown, unwindowed, some, padded) {
  const seen = some.filter((code) => !padded[code]);
  if (seen.length === 0) return false;
  const share = (brightness) => commonest(seen.map((code) => roundHalfEven(brightness[code] * 255)));
  return share(shown) >= NEARLY_ALL && share(unwindowed) < NEARLY_ALL;
}

function modalityOf(modality, stored) {
  if (modality.entries) return stored.map((value) => lookUp(modality, value));
  return stored.map((value) => value * modality.slope + modality.intercept);
}

function lookUp({ first, entries }, value) {
  return entries[Math.min(Math.max(roundHalfEven(value) - first, 0), entries.length - 1)];
}

/** Return the brightness of each value, what shows it so, and what was assumed. */
function voiOf(voi, values) {
  if (!voi.entries) {
    const how = `VOI window 1 (${voi.function.toLowerCase().replace("_", "-")})`;
    return { brightness: windowed(values, voi), how, window: voi, assumed: [] };
  }
  const { white, assumed } = whiteOfTable(voi);
  const brightness = values.map((value) => limited(lookUp(voi, value) / white));
  return { brightness, how: "VOI LUT 1", window: null, assumed };
}

/** Return the entry that means white: the largest number of its bits, if the entries have so many. */
function whiteOfTable({ entries, bits }) {
  const largest = entries.reduce((most, entry) => Math.max(most, entry), 0);
  if (32 - Math.clz32(largest) === bits) return { white: 2 ** bits - 1, assumed: [] };
  const contradiction = `the entries of its VOI LUT go up to ${largest}, where it states ${bits} bits`;
  return { white: Math.max(largest, 1), assumed: [`${contradiction}, so the largest entry was read as white`] };
}

/** Apply PS3.3 C.11.2.1.2.1 (linear), C.11.2.1.3.2 (linear-exact) or C.11.2.1.3.1 (sigmoid). */
function windowed(values, { center, width, function: shape }) {
  if (shape === "SIGMOID") return values.map((value) => 0.5 + 0.5 * Math.tanh((2 * (value - center)) / width));
  const [middle, span] = shape === "LINEAR" ? [center - 0.5, width - 1] : [center, width];
  return values.map((value) => (span <= 0 ? Number(value > middle) : limited((value - middle) / span + 0.5)));
}
