// Read any file as a radiograph; its format is decided by content, never by suffix.

import { checkSide, ImageError, UnsupportedImage } from "./errors.js";
import { whiteOf } from "./grays.js";
import { readJpeg } from "./jpeg.js";
import { readPng } from "./png.js";

// Formats that are often given by mistake, so that the message can name them. The first match wins.
const OTHERS = [
  ["GIF8", "a GIF image"],
  ["BM", "a BMP image"],
  ["II*\0", "a TIFF image"],
  ["MM\0*", "a TIFF image"],
  ["RIFF", "a WebP image or another RIFF file"],
  ["\0\0\0\x0cjP  ", "a JPEG 2000 image outside DICOM"],
  ["\xff\x4f\xff\x51", "a JPEG 2000 codestream outside DICOM"],
  ["%PDF", "a PDF document"],
  ["PK\x03\x04", "a ZIP archive"],
  ["\x1f\x8b", "a gzip-compressed file"],
  ["{", "JSON text"],
  ["<", "HTML, SVG or XML text"],
];
const LONGEST_FIRST_ELEMENT = 1024; // without a VR, a longer first element is not DICOM

/**
 * Return the radiograph in a file: `pixels`, `rows` and `columns`, gray, larger is brighter, with what the file
 * says of it, and `stored`, its values for a display that changes the window. `rules` are those for DICOM headers.
 */
export async function readRadiograph(bytes, rules) {
  const radiograph = await readers[formatOf(bytes)](bytes, rules);
  checkSide(radiograph);
  return { ...radiograph, stored: radiograph.stored ?? storedAsRead(radiograph) };
}

const readers = {
  PNG: readPng,
  JPEG: readJpeg,
  // Only where it is needed: most images are PNG.
  DICOM: async (bytes, rules) => (await import("./dicom.js")).readDicom(bytes, await rules()),
};

function formatOf(bytes) {
  const starts = (text, from = 0) => [...text].every((letter, at) => bytes[from + at] === letter.charCodeAt(0));
  if (bytes.length === 0) throw new ImageError("the file is empty (0 bytes); copy it again from its source");
  if (starts("\x89PNG\r\n\x1a\n")) return "PNG";
  if (starts("\xff\xd8\xff")) return "JPEG";
  if (starts("DICM", 128) || startsLikeDicom(bytes)) return "DICOM";
  const kind = OTHERS.find(([magic]) => starts(magic))?.[1] ?? "not a known image";
  throw new UnsupportedImage(
    `the file is ${kind}; PNG, JPEG and DICOM are read, so export the original image as one of these`
  );
}

/** Return whether a data set without preamble may start here: group 0002 or 0008, then VR or length. */
function startsLikeDicom(bytes) {
  if (bytes.length < 8) return false;
  const upper = (byte) => byte >= 65 && byte <= 90;
  const explicit = upper(bytes[4]) && upper(bytes[5]);
  const short = bytes[4] + 256 * bytes[5] + 65536 * (bytes[6] + 256 * bytes[7]) < LONGEST_FIRST_ELEMENT;
  const group = (low, high) => bytes[low] + 256 * bytes[high];
  if ([2, 8].includes(group(0, 1))) return explicit || short;
  return [2, 8].includes(group(1, 0)) && explicit;
}

/** Return a radiograph whose grays are shown as they were read: PNG, JPEG, and DICOM in color. */
export function storedAsRead({ pixels }) {
  const white = whiteOf(pixels);
  return {
    values: pixels,
    table: new pixels.constructor(white + 1).map((_, gray) => gray),
    slope: 1,
    intercept: 0,
    window: { center: white / 2, width: white, function: "LINEAR_EXACT" },
    inverted: false,
    padding: null,
    orientation: null,
  };
}
