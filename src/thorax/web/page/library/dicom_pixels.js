// DICOM pixel data to stored values: uncompressed, RLE, 8-bit JPEG, and what the site has decoders for. Other codecs
// are named and refused.

import { checkSize, ImageError, UnsupportedImage } from "./errors.js";
import { decodeFrame, decodes, isLossy } from "./codecs.js";
import { NATIVE } from "./dicom_parsing.js";
import { uidName } from "./dicom_header.js";
import { decodeJpeg, readHeader } from "./jpeg.js";

const RLE = "1.2.840.10008.1.2.5";
const JPEG = ["1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"]; // baseline, extended

/** Return the layout of the pixel data, checked to be decodable. */
export function readLayout(dataset) {
  if (dataset.pixels === null) {
    throw new ImageError(
      "the DICOM file has no Pixel Data (it is not an image, or only its header was sent); send the image again"
    );
  }
  const number = (keyword) => wholeNumber(dataset, keyword);
  const stored = number("BitsStored");
  const layout = {
    rows: number("Rows"),
    columns: number("Columns"),
    samples: number("SamplesPerPixel"),
    allocated: number("BitsAllocated"),
    stored,
    highBit: dataset.raw("HighBit") ? number("HighBit") : stored - 1,
    signed: number("PixelRepresentation") === 1,
  };
  checkSize(layout.rows, layout.columns);
  if (![8, 16].includes(layout.allocated) || ![1, 3].includes(layout.samples)) {
    throw new UnsupportedImage(
      `${layout.samples} samples of ${layout.allocated} bits per pixel; radiographs have one sample of 8 or 16 bits, so ` +
        "export the image in that form"
    );
  }
  if (!(stored >= 1 && stored <= layout.highBit + 1 && layout.highBit + 1 <= layout.allocated)) {
    throw new ImageError(
      `Bits Allocated ${layout.allocated}, Bits Stored ${stored} and High Bit ${layout.highBit} contradict each other; ` +
        "export the image again from its source"
    );
  }
  return layout;
}

function wholeNumber(dataset, keyword) {
  const bytes = dataset.raw(keyword);
  const words = dataset.words(keyword);
  if (words.length === 1 && bytes.length === 2) return words[0];
  const given = bytes === null || bytes.length === 0 ? "nothing" : "no single number";
  throw new ImageError(
    `the DICOM header gives ${given} as ${keyword}, where one number is needed; the file is damaged or not an image, so ` +
      "export it again from its source"
  );
}

/** Decode a gray image to the bit patterns of its stored values, 0 to 2 ** bits - 1. */
export async function decodeCodes(dataset, layout, rules) {
  const { syntax } = dataset;
  if (NATIVE.has(syntax)) return cutBits(nativeSamples(dataset, layout, rules, 1), layout, layout.highBit + 1 - layout.stored, overlayBits(dataset, layout));
  if (syntax === RLE) return cutBits(rleSamples(dataset, layout), layout, 0, overlayBits(dataset, layout));
  if (JPEG.includes(syntax)) {
    const { values } = await decodedJpeg(dataset, layout, rules);
    const codes = layout.allocated === 8 ? values : Uint16Array.from(values);
    if (!layout.signed) return clipped(codes, layout);
    return cutBits(codes, layout, 0, overlayBits(dataset, layout));
  }
  if (!decodes(syntax, rules)) throw notDecoded(dataset, rules);
  const codes = await decodeFrame(syntax, dataset.pixels.content, layout, rules);
  if (isLossy(syntax) && !layout.signed) return clipped(codes, layout);
  return cutBits(codes, layout, 0, overlayBits(dataset, layout));
}

/** Decode an 8-bit color image to red, green and blue of each pixel. */
export async function decodeColors(dataset, layout, rules) {
  const [photometric, planar] = [dataset.first("PhotometricInterpretation"), dataset.words("PlanarConfiguration")[0] === 1];
  const lossy = JPEG.includes(dataset.syntax);
  const known = photometric === "RGB" || photometric === "YBR_FULL" || (lossy && photometric === "YBR_FULL_422");
  if (!known || (lossy && photometric === "RGB") || !(lossy || NATIVE.has(dataset.syntax))) {
    throw new UnsupportedImage(
      `a color image (${uidName(dataset.syntax, rules)}), which this page does not read; give the original gray ` +
        "radiograph, or predict it with Thorax itself"
    );
  }
  if (lossy) return (await decodedJpeg(dataset, layout, rules)).values;
  const samples = nativeSamples(dataset, layout, rules, 3);
  const count = samples.length / 3;
  const colors = planar ? samples.map((_, at) => samples[(at % 3) * count + Math.floor(at / 3)]) : samples;
  return photometric === "RGB" ? colors : fromYbr(colors);
}

/** Return red, green and blue of full-range luminance and color differences (PS3.3 C.7.6.3.1.2). */
function fromYbr(colors) {
  const result = new Uint8ClampedArray(colors.length);
  for (let at = 0; at < colors.length; at += 3) {
    const [y, blue, red] = [colors[at], colors[at + 1] - 128, colors[at + 2] - 128];
    result[at] = y + 1.402 * red;
    result[at + 1] = y - 0.344136 * blue - 0.714136 * red;
    result[at + 2] = y + 1.772 * blue;
  }
  return result;
}

function notDecoded(dataset, rules) {
  return new UnsupportedImage(
    `its image is compressed (${uidName(dataset.syntax, rules)}), which this page does not decode; convert the file to ` +
      "Explicit VR Little Endian first (for example with gdcmconv --raw), or predict it with Thorax itself"
  );
}

// ---- codecs ----

function nativeSamples(dataset, layout, rules, samples) {
  const { pixels, reader } = dataset;
  if (pixels.undefinedLength) {
    throw new ImageError(
      "Pixel Data has no stated length, as compressed images have, but its transfer syntax is " +
        `${uidName(dataset.syntax, rules)}; correct the header or export the image again`
    );
  }
  const bytes = layout.allocated / 8;
  const count = layout.rows * layout.columns * samples;
  const { content } = pixels;
  if (content.length < count * bytes) {
    throw new ImageError(
      `Pixel Data holds ${content.length} bytes, but ${layout.columns} x ${layout.rows} pixels take ${count * bytes}: the ` +
        "file is truncated or its header is wrong; send the image again"
    );
  }
  if (bytes === 1) {
    // Words of two samples are swapped where the high byte comes first.
    return reader.little || pixels.vr === "OB" ? content.slice(0, count) : new Uint8Array(count).map((_, at) => content[at ^ 1]);
  }
  if (reader.little) return new Uint16Array(content.slice(0, 2 * count).buffer);
  return new Uint16Array(count).map((_, at) => (content[2 * at] << 8) | content[2 * at + 1]);
}

/** Decode RLE Lossless (PS3.5 annex G): for each sample its bytes, the most significant first. */
function rleSamples({ pixels: { content } }, layout) {
  const [count, needed] = [layout.rows * layout.columns, layout.allocated / 8];
  const view = new DataView(content.buffer, content.byteOffset, content.byteLength);
  const segments = content.length >= 64 ? view.getUint32(0, true) : 0;
  if (segments !== needed) {
    throw new ImageError(
      `the RLE image has ${segments} segments, where its header needs ${needed}: the file is damaged or truncated, so ` +
        "send the image again"
    );
  }
  const begins = Array.from({ length: segments }, (_, at) => view.getUint32(4 + 4 * at, true));
  const rows = begins.map((begin, at) => unpacked(content.subarray(begin, begins[at + 1] ?? content.length), count));
  if (needed === 1) return rows[0];
  return new Uint16Array(count).map((_, at) => (rows[0][at] << 8) | rows[1][at]);
}

function unpacked(segment, length) {
  const result = new Uint8Array(length);
  let [at, to] = [0, 0];
  while (to < length && at < segment.length) {
    const control = segment[at];
    if (control < 128) {
      const part = segment.subarray(at + 1, Math.min(at + control + 2, at + 1 + length - to));
      result.set(part, to);
      to += part.length;
      at += control + 2;
    } else if (control > 128) {
      result.fill(segment[at + 1], to, to + 257 - control);
      to += 257 - control;
      at += 2;
    } else {
      at += 1;
    }
  }
  if (to >= length) return result;
  throw new ImageError(
    `a segment of the RLE image has ${to} of ${length} bytes: the file is truncated or damaged, so send the image again`
  );
}

async function decodedJpeg(dataset, layout, rules) {
  const frame = dataset.pixels.content;
  const header = readHeader(frame);
  if (header === null) {
    throw new ImageError(
      `the compressed image has no readable header (${frame.length} bytes): the file is damaged or truncated, so send ` +
        "the image again"
    );
  }
  if (header.rows !== layout.rows || header.columns !== layout.columns || header.samples !== layout.samples) {
    throw new ImageError(
      `the header says ${layout.columns} x ${layout.rows} pixels of ${layout.samples} x ${layout.allocated} bits, the ` +
        `compressed image ${header.columns} x ${header.rows} of ${header.samples} x ${header.precision}; export the ` +
        "image again from its source"
    );
  }
  if (header.precision !== 8) throw notDecoded(dataset, rules);
  return decodeJpeg(frame, header);
}

// ---- bits ----

/** Return the stored bits; refuse others that vary from pixel to pixel, unless they repeat the sign. */
function cutBits(codes, layout, lowest, overlays) {
  const largest = 2 ** layout.stored - 1;
  const mask = (2 ** (8 * codes.BYTES_PER_ELEMENT) - 1) & ~(largest << lowest) & ~overlays;
  const sign = 1 << (layout.stored - 1);
  let [varies, repeats] = [false, layout.signed];
  const inside = new codes.constructor(codes.length);
  for (let at = 0; at < codes.length; at += 1) {
    const code = codes[at];
    inside[at] = (code >> lowest) & largest;
    varies ||= (code & mask) !== (codes[0] & mask);
    repeats &&= (code & mask) === (inside[at] & sign ? mask : 0);
  }
  if (varies && !repeats) throw contradiction(codes, layout);
  return inside;
}

/** Clip what a lossy codec overshot at white; refuse values that do not fit at all. */
function clipped(codes, layout) {
  const largest = 2 ** layout.stored - 1;
  const beyond = codes.reduce((sum, code) => sum + (code > largest + (largest >> 4) ? 1 : 0), 0) / codes.length;
  if (beyond > 0.01) throw contradiction(codes, layout);
  return codes.map((code) => Math.min(code, largest));
}

/** Return the bits of the pixel data that hold overlays (retired; PS3.3-2004 C.9.2). */
function overlayBits(dataset, layout) {
  let bits = 0;
  for (let group = 0x6000; group < 0x6020; group += 2) {
    const [[allocated], [position]] = [0x0100, 0x0102].map((element) => dataset.words(group * 0x10000 + element));
    if (position === undefined || dataset.raw(group * 0x10000 + 0x3000)) continue;
    if (allocated === layout.allocated && position < allocated) bits |= 1 << position;
  }
  return bits;
}

function contradiction(codes, layout) {
  const most = codes.reduce((largest, code) => Math.max(largest, code), 0);
  return new ImageError(
    `its values go up to ${most}, with bits that differ from pixel to pixel outside Bits Stored ${layout.stored} and ` +
      `High Bit ${layout.highBit}, so their meaning is unknown; correct the header or export the image again`
  );
}
