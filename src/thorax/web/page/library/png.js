// Read PNG files of every color type and depth, as thorax.imaging.png does: the canvas of a browser has 8 bits only.

import { checkSize, ImageError, UnsupportedImage } from "./errors.js";
import { coloredShare, coloredShareOfPicture, doubtsAbout, luminance, overBlack, stretched, whiteOf } from "./grays.js";
import { inflated, joined } from "./inflate.js";
import { exifOrientation, turned, xmpOrientation } from "./orientation.js";

const [GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA] = [0, 2, 3, 4, 6];
const DEPTHS = { [GRAY]: [1, 2, 4, 8, 16], [RGB]: [8, 16], [PALETTE]: [1, 2, 4, 8], [GRAY_ALPHA]: [8, 16], [RGBA]: [8, 16] };
const SAMPLES = { [GRAY]: 1, [RGB]: 3, [PALETTE]: 1, [GRAY_ALPHA]: 2, [RGBA]: 4 };
const KINDS = {
  [GRAY]: "gray",
  [RGB]: "luminance of RGB",
  [PALETTE]: "luminance of a palette",
  [GRAY_ALPHA]: "gray and alpha",
  [RGBA]: "luminance of RGBA",
};
const MAX_CHUNKS = 200_000;
const KNOWN = ["IHDR", "PLTE", "IDAT", "IEND"];

// First row, first column, row step and column step of each pass of an interlaced image.
const ADAM7 = [
  [0, 0, 8, 8], [0, 4, 8, 8], [4, 0, 8, 4], [0, 2, 4, 4], [2, 0, 4, 2], [0, 1, 2, 2], [1, 0, 2, 1],
];

const damaged = (what) => new ImageError(`the PNG file is damaged: ${what}; copy it again from its source`);

/** Return the radiograph in a PNG file. */
export async function readPng(bytes) {
  const png = takeApart(bytes);
  const picture = await decoded(png);
  const { gray, colored } = grayOf(png, picture);
  const upright = turned({ values: gray, rows: png.height, columns: png.width }, png.orientation);
  const [pixels, assumed] = stretched(upright.values);
  const intensity = `${png.depth}-bit as stored (${KINDS[png.color]})`;
  const { rows, columns } = upright;
  return {
    pixels,
    rows,
    columns,
    colored,
    format: "PNG",
    bits: png.depth,
    intensity: assumed ? `${intensity}, spread` : intensity,
    doubts: [...(assumed ? [assumed] : []), ...doubtsAbout(pixels, rows, columns)],
  };
}

// ---- chunks ----

function takeApart(bytes) {
  const chunks = chunksOf(bytes);
  const header = chunks.IHDR ?? new Uint8Array(0);
  if (header.length !== 13) throw damaged(`its header has ${header.length} bytes instead of 13`);
  const view = new DataView(header.buffer, header.byteOffset);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  const [depth, color, compression, filtering, interlace] = header.subarray(8);
  checkSize(height, width);
  if (!DEPTHS[color]?.includes(depth) || compression || filtering || interlace > 1) {
    throw damaged(`its header gives color type ${color} with ${depth} bits, which PNG does not allow`);
  }
  const control = chunks.acTL;
  const frames = control?.length >= 4 ? new DataView(control.buffer, control.byteOffset).getUint32(0) : 1;
  if (frames > 1) {
    throw new UnsupportedImage(
      `an animated PNG of ${frames} frames; a radiograph is a single image, so export one frame`
    );
  }
  const orientation = exifOrientation(chunks.eXIf ?? header) || xmpOrientation(chunks.iTXt ?? header);
  const empty = new Uint8Array(0);
  return {
    width,
    height,
    depth,
    color,
    interlaced: interlace === 1,
    palette: chunks.PLTE ?? empty,
    transparency: chunks.tRNS ?? null,
    stream: chunks.IDAT ?? empty,
    orientation,
  };
}

/** Return the content of each chunk type, chunks of one type joined; bytes after IEND are ignored. */
function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = {};
  let at = 8;
  for (let number = 0; !("IEND" in parts); number += 1) {
    if (number === MAX_CHUNKS) throw damaged(`it has over ${MAX_CHUNKS.toLocaleString("en-US")} chunks`);
    const length = bytes.subarray(at, at + 4).reduce((number, byte) => 256 * number + byte, 0);
    const end = at + 8 + length;
    if (bytes.length < end + 4) {
      throw new ImageError(
        `the PNG file is truncated (${bytes.length} bytes of at least ${end + 4}); copy it again from its source`
      );
    }
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    // Only critical chunks (with a capital first letter) carry the image; errors elsewhere do no harm.
    if (/^[A-Z]/.test(kind) && crc32(bytes.subarray(at + 4, end)) !== view.getUint32(end)) {
      throw damaged(`the checksum of its chunk ${KNOWN.includes(kind) ? kind : "of an unknown kind"} at byte ${at} is wrong`);
    }
    (parts[kind] ??= []).push(bytes.subarray(at + 8, end));
    at = end + 4;
  }
  return Object.fromEntries(Object.entries(parts).map(([kind, found]) => [kind, joined(found)]));
}

const CRC = Uint32Array.from({ length: 256 }, (_, number) => {
  let value = number;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

function crc32(bytes) {
  let value = 0xffffffff;
  for (let at = 0; at < bytes.length; at += 1) value = CRC[(value ^ bytes[at]) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

// ---- pixel data ----

/** Return the samples as `{values, channels}`, those of fewer than 8 bits unpacked but not scaled. */
async function decoded(png) {
  const channels = SAMPLES[png.color];
  const bits = png.depth * channels;
  const passes = (png.interlaced ? ADAM7 : [[0, 0, 1, 1]])
    .map(([top, left, down, right]) => ({
      top, left, down, right,
      rows: Math.max(0, Math.ceil((png.height - top) / down)),
      columns: Math.max(0, Math.ceil((png.width - left) / right)),
    }))
    .filter(({ rows, columns }) => rows && columns);
  const needed = passes.reduce((sum, { rows, columns }) => sum + rows * (1 + Math.ceil((columns * bits) / 8)), 0);
  const data = await inflated(png.stream, "deflate", needed).catch(() => {
    throw damaged("its pixel data does not decode");
  });
  if (data.length < needed) throw damaged(`its pixel data ends after ${data.length} of ${needed} bytes`);
  const Samples = png.depth === 16 ? Uint16Array : Uint8Array;
  const values = new Samples(png.width * png.height * channels);
  let at = 0;
  for (const pass of passes) at = decodePass(data, at, pass, png, channels, values);
  return { values, channels };
}

function decodePass(data, start, pass, png, channels, values) {
  const length = Math.ceil((pass.columns * png.depth * channels) / 8);
  const apart = Math.max(1, (png.depth * channels) >> 3); // bytes between the samples of neighbors
  let above = new Uint8Array(length);
  let at = start;
  for (let row = 0; row < pass.rows; row += 1) {
    const line = data.subarray(at + 1, at + 1 + length);
    unfilter(data[at], line, above, apart);
    spread(line, row, pass, png, channels, values);
    above = line;
    at += 1 + length;
  }
  return at;
}

function unfilter(kind, line, above, apart) {
  const { length } = line;
  if (kind === 0) return;
  if (kind === 1) {
    for (let at = apart; at < length; at += 1) line[at] += line[at - apart];
  } else if (kind === 2) {
    for (let at = 0; at < length; at += 1) line[at] += above[at];
  } else if (kind === 3) {
    for (let at = 0; at < length; at += 1) line[at] += ((at < apart ? 0 : line[at - apart]) + above[at]) >> 1;
  } else if (kind === 4) {
    for (let at = 0; at < Math.min(apart, length); at += 1) line[at] += above[at];
    for (let at = apart; at < length; at += 1) line[at] += nearest(line[at - apart], above[at], above[at - apart]);
  } else {
    throw damaged("its pixel data does not decode");
  }
}

/** Return the neighbor closest to their linear prediction. */
function nearest(left, up, corner) {
  const [a, b, c] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
  return a <= b && a <= c ? left : b <= c ? up : corner;
}

/** Put the samples of a row where they belong. */
function spread(line, row, { top, left, down, right, columns }, png, channels, values) {
  const begin = ((top + row * down) * png.width + left) * channels;
  const step = right * channels;
  const { depth } = png;
  if (depth === 8 && right === 1) {
    values.set(line, begin);
  } else if (depth >= 8) {
    const bytes = depth / 8;
    for (let column = 0, at = 0; column < columns; column += 1) {
      for (let channel = 0; channel < channels; channel += 1, at += bytes) {
        values[begin + column * step + channel] = bytes === 1 ? line[at] : (line[at] << 8) | line[at + 1];
      }
    }
  } else {
    const mask = (1 << depth) - 1;
    for (let column = 0; column < columns; column += 1) {
      const bit = column * depth;
      values[begin + column * step] = (line[bit >> 3] >> (8 - depth - (bit & 7))) & mask;
    }
  }
}

// ---- gray ----

/** Return the gray image and the share of it that was colored. */
function grayOf(png, { values, channels }) {
  const { width, height, depth, color, transparency } = png;
  if (color === PALETTE) return grayOfPalette(png, values);
  const spreads = depth < 8 ? 255 / (2 ** depth - 1) : 1;
  const samples = depth < 8 ? values.map((value) => value * spreads) : values;
  const colors = color === RGB || color === RGBA;
  const gray = colors ? luminance(samples, channels) : channels === 1 ? samples : channel(samples, channels, 0);
  const look = depth === 8 && transparency === null ? coloredShareOfPicture : coloredShare;
  const colored = colors ? look(samples, channels, height, width) : 0;
  if (color === GRAY_ALPHA || color === RGBA) {
    return { gray: composited(gray, channel(samples, channels, channels - 1)), colored };
  }
  if (transparency === null) return { gray, colored };
  const opaque = keyed(png, samples, channels, spreads);
  return { gray: composited(gray, opaque), colored };
}

const channel = (samples, channels, number) =>
  new samples.constructor(samples.length / channels).map((_, at) => samples[at * channels + number]);

/** Composite over black, unless the transparency is the same everywhere, as in NIH's files. */
function composited(gray, alpha) {
  if (alpha.every((value) => value === alpha[0])) return gray;
  return overBlack(gray.slice(), (at) => alpha[at], whiteOf(alpha));
}

/** Return which pixels are opaque: all that do not have the one transparent color. */
function keyed({ transparency }, samples, channels, spreads) {
  if (transparency.length !== 2 * channels) {
    throw damaged(`its transparent color (tRNS) has ${transparency.length} bytes`);
  }
  const key = Array.from({ length: channels }, (_, at) => ((transparency[2 * at] << 8) | transparency[2 * at + 1]) * spreads);
  return new Uint8Array(samples.length / channels).map((_, at) =>
    key.every((value, number) => samples[at * channels + number] === value) ? 0 : 255
  );
}

function grayOfPalette({ width, height, palette, transparency }, indices) {
  const entries = Math.floor(palette.length / 3);
  const largest = indices.reduce((most, index) => Math.max(most, index), 0);
  if (largest >= entries) throw damaged(`a pixel has palette color ${largest} of ${entries}`);
  const colors = new Uint8Array(indices.length * 3);
  indices.forEach((index, at) => colors.set(palette.subarray(3 * index, 3 * index + 3), 3 * at));
  const alpha = indices.map((index) => transparency?.[index] ?? 255);
  return { gray: composited(luminance(colors, 3), alpha), colored: coloredShare(colors, 3, height, width) };
}
