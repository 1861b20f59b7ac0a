// Read 8-bit JPEG files: the browser decodes them, and what it would go on without in silence is refused before.

import { checkSize, ImageError, UnsupportedImage } from "./errors.js";
import { coloredShareOfPicture, doubtsAbout, luminance } from "./grays.js";
import { joined } from "./inflate.js";
import { exifOrientation, turned, xmpOrientation } from "./orientation.js";

const [TABLES, QUANTIZATION, RESTART, SCAN, JFIF, APP1, ADOBE] = [0xc4, 0xdb, 0xdd, 0xda, 0xe0, 0xe1, 0xee];
const FRAMES = new Set([...Array.from({ length: 16 }, (_, at) => 0xc0 + at)].filter((marker) => ![0xc4, 0xc8, 0xcc].includes(marker))).add(0xf7);
const DECODED = new Set([0xc0, 0xc1, 0xc2]); // baseline, extended with Huffman coding, progressive
const BLOCK_BITS = { 0xc0: 2, 0xc1: 2, 0xc2: 1 };
const MAX_SEGMENTS = 4096;
const XMP = "http://ns.adobe.com/xap/1.0/\0";

const damaged = (what) =>
  new ImageError(
    `the JPEG image is damaged, truncated or of an unsupported kind (${what}); copy or export it again as 8-bit ` +
      "baseline JPEG or PNG"
  );

/** Return the radiograph in a JPEG file. */
export async function readJpeg(bytes) {
  const header = readHeader(bytes);
  if (header === null) throw damaged("its header does not lead to an image");
  checkSize(header.rows, header.columns);
  const stored = await decodeJpeg(bytes, header);
  const { values, rows, columns } = turned(stored, orientationOf(bytes, header));
  const gray = header.samples === 1;
  const pixels = gray ? values : luminance(values, 3);
  return {
    pixels,
    rows,
    columns,
    colored: gray ? 0 : coloredShareOfPicture(values, 3, rows, columns),
    format: "JPEG",
    bits: 8,
    intensity: `8-bit as stored (${gray ? "gray" : "luminance of colors"})`,
    doubts: doubtsAbout(pixels, rows, columns),
  };
}

/** Decode an 8-bit JPEG image to `{values, rows, columns, channels}`, of one channel or three. */
export async function decodeJpeg(bytes, header) {
  refuseIncomplete(bytes, header);
  await refuseChangedPixels();
  const plain = joined([bytes.subarray(0, 2), ...kept(header).map(({ begin, end }) => bytes.subarray(begin, end)), bytes.subarray(header.dataAt)]);
  const options = { colorSpaceConversion: "none", imageOrientation: "none", premultiplyAlpha: "none" };
  const bitmap = await createImageBitmap(new Blob([plain], { type: "image/jpeg" }), options).catch(() => {
    throw damaged("it does not decode");
  });
  const { rows, columns, samples } = header;
  if (bitmap.width !== columns || bitmap.height !== rows) throw damaged("it does not decode");
  const data = readBack(bitmap);
  bitmap.close();
  const channels = samples === 1 ? 1 : 3;
  const values = new Uint8Array(rows * columns * channels);
  for (let at = 0, from = 0; at < values.length; from += 4) {
    for (let channel = 0; channel < channels; channel += 1, at += 1) values[at] = data[from + channel];
  }
  return { values, rows, columns, channels };
}

function readBack(picture) {
  const { width, height } = picture;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, width, height).data;
}

let faithful = null;

/** Refuse where the browser changes pixels that pages read back, as some do against being recognized. */
async function refuseChangedPixels() {
  faithful ??= (async () => {
    const picture = new ImageData(64, 64);
    picture.data.forEach((_, at) => (picture.data[at] = at % 4 === 3 ? 255 : (at * 37) % 251));
    const bitmap = await createImageBitmap(picture, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    return readBack(bitmap).every((value, at) => value === picture.data[at]);
  })();
  if (await faithful) return;
  throw new UnsupportedImage(
    "this browser changes the pixels of pictures that pages read, to protect against being recognized, so a JPEG " +
      "image would not be read as it is; allow it for this page, or give the image as PNG"
  );
}

/** Refuse what browsers decode otherwise than the library does, or fill with gray where data are missing. */
function refuseIncomplete(bytes, header) {
  const { frame, precision, samples, sampling, rows, columns, dataAt } = header;
  if (!DECODED.has(frame) || precision !== 8) throw damaged("not 8-bit baseline, extended or progressive");
  if (samples !== 1 && samples !== 3) {
    throw new UnsupportedImage(`a JPEG image of ${samples} colors, as for printing; export it again in gray`);
  }
  const across = Math.max(...sampling.map(([horizontal]) => horizontal));
  const down = Math.max(...sampling.map(([, vertical]) => vertical));
  const bits = sampling.reduce((sum, [horizontal, vertical]) => {
    const [width, height] = [Math.floor((columns * horizontal) / across), Math.floor((rows * vertical) / down)];
    return sum + (width >> 3) * (height >> 3) * BLOCK_BITS[frame];
  }, 0);
  const end = endOfImage(bytes, dataAt);
  if (end < 0 || end - dataAt < bits >> 3) throw damaged("its data end before the image does");
}

/** Return where the marker of the end lies; -1 without one. */
function endOfImage(bytes, from) {
  for (let at = from; at + 1 < bytes.length; at += 1) {
    if (bytes[at] !== 0xff) continue;
    const marker = bytes[at + 1];
    if (marker === 0xd9) return at;
    if (marker === TABLES || marker === SCAN || marker === QUANTIZATION || marker === RESTART || marker >= JFIF) {
      if (marker === 0xff) continue;
      at += 1 + ((bytes[at + 2] << 8) | bytes[at + 3]);
    } else {
      at += 1;
    }
  }
  return -1;
}

/** Return the segments that decoding needs: of application data, one JFIF and one Adobe segment. */
function kept({ segments }) {
  const once = new Set([JFIF, ADOBE]);
  return segments.filter(({ marker }) => once.delete(marker) || !((marker >= 0xe0 && marker <= 0xef) || marker === 0xfe));
}

function orientationOf(bytes, { segments }) {
  const bodies = segments.filter(({ marker }) => marker === APP1).map(({ begin, end }) => bytes.subarray(begin + 4, end));
  const first = (text) =>
    bodies.find((body) => [...text].every((letter, at) => body[at] === letter.charCodeAt(0))) ?? new Uint8Array(0);
  return exifOrientation(first("Exif\0\0")) || xmpOrientation(first(XMP));
}

/** Walk the segments up to the first scan; null if they do not lead there, or there are two frames. */
export function readHeader(bytes) {
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return null;
  const segments = [];
  let frame = null;
  let at = 2;
  while (segments.length < MAX_SEGMENTS) {
    while (bytes[at] === 0xff && bytes[at + 1] === 0xff) at += 1;
    if (bytes[at] !== 0xff || at + 4 > bytes.length) return null;
    const segment = { marker: bytes[at + 1], begin: at, end: at + 2 + ((bytes[at + 2] << 8) | bytes[at + 3]) };
    if (!isSegment(segment.marker) || segment.end < at + 4 || segment.end > bytes.length) return null;
    if (FRAMES.has(segment.marker)) {
      if (frame !== null) return null;
      frame = segment;
    }
    segments.push(segment);
    at = segment.end;
    if (segment.marker === SCAN) return frame && describedBy(bytes, frame, segments);
  }
  return null;
}

const isSegment = (marker) =>
  (marker >= 0xc0 && marker <= 0xcf) ||
  [QUANTIZATION, RESTART, SCAN, 0xf7, 0xf8, 0xfe].includes(marker) ||
  (marker >= 0xe0 && marker <= 0xef);

function describedBy(bytes, { marker, begin, end }, segments) {
  const body = bytes.subarray(begin + 4, end);
  if (body.length < 6) return null;
  const samples = body[5];
  const sampling = Array.from({ length: samples }, (_, at) => [body[7 + 3 * at] >> 4, body[7 + 3 * at] & 15]);
  const fits = ([horizontal, vertical]) => horizontal >= 1 && horizontal <= 4 && vertical >= 1 && vertical <= 4;
  if (samples === 0 || body.length < 6 + 3 * samples || !sampling.every(fits)) return null;
  return {
    frame: marker,
    precision: body[0],
    rows: (body[1] << 8) | body[2],
    columns: (body[3] << 8) | body[4],
    samples,
    sampling,
    segments,
    dataAt: segments.at(-1).end,
  };
}
