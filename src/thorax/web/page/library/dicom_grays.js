// What a DICOM header says about gray: modality LUT, VOI, inversion and padding. The twin of
// thorax.imaging.dicom.gray_rules.

import { ImageError, UnsupportedImage } from "./errors.js";
import { lengthOf, numbersOf, stated } from "./dicom_header.js";

/** Return modality LUT, VOI, inversion and padding of a gray image. */
export function readGrayRule(dataset, layout, rules) {
  const photometric = dataset.first("PhotometricInterpretation");
  const gray = photometric.replaceAll(" ", ""); // some writers put one before the number
  if (gray !== "MONOCHROME1" && gray !== "MONOCHROME2") {
    throw new UnsupportedImage(
      `Photometric Interpretation is ${stated(photometric, rules.photometric, "absent")}, so the meaning of its values ` +
        "is unknown; MONOCHROME1 and MONOCHROME2 are read"
    );
  }
  const modality = readModality(dataset, layout);
  const negative = layout.signed || modality.intercept < 0;
  return {
    bits: layout.stored,
    signed: layout.signed,
    modality,
    voi: firstTable(dataset, "VOILUTSequence", negative) ?? readWindow(dataset),
    inverted: gray === "MONOCHROME1" || dataset.texts("PresentationLUTShape").includes("INVERSE"),
    padding: readPadding(dataset, layout),
  };
}

function readModality(dataset, layout) {
  const table = firstTable(dataset, "ModalityLUTSequence", layout.signed);
  if (table !== null) return table;
  const [slope = 1] = numbersOf(dataset, "RescaleSlope");
  const [intercept = 0] = numbersOf(dataset, "RescaleIntercept");
  if (slope === 0) {
    throw new ImageError(
      "Rescale Slope is 0, which makes all pixels equal; correct the header or export the image again"
    );
  }
  return { slope, intercept };
}

function readWindow(dataset) {
  const [center] = numbersOf(dataset, "WindowCenter");
  const [width] = numbersOf(dataset, "WindowWidth");
  if (center === undefined || width === undefined) return null;
  const name = dataset.first("VOILUTFunction") || "LINEAR";
  if (!["LINEAR", "LINEAR_EXACT", "SIGMOID"].includes(name)) {
    throw new ImageError(
      `VOI LUT Function is ${lengthOf(name)}, not LINEAR, LINEAR_EXACT or SIGMOID; correct the header or export the ` +
        "image again"
    );
  }
  // PS3.3 C.11.2.1.2: at least 1 if linear, above 0 otherwise.
  return (name === "LINEAR" ? width >= 1 : width > 0) ? { center, width, function: name } : null;
}

/** Return the smallest and largest padding value; the two elements may come in either order. */
function readPadding(dataset, layout) {
  const [value] = dataset.words("PixelPaddingValue");
  if (value === undefined) return null;
  const [limit = value] = dataset.words("PixelPaddingRangeLimit");
  const ends = [value, limit].map((word) => asStored(word, layout.signed));
  return [Math.min(...ends), Math.max(...ends)];
}

/** Return the first LUT of a sequence; null if it is absent, or its items are empty. */
function firstTable(dataset, keyword, signed) {
  const table = dataset.items(keyword).find((item) => item.raw("LUTDescriptor") || item.raw("LUTData"));
  if (!table) return null;
  const descriptor = table.words("LUTDescriptor");
  let words = table.words("LUTData");
  let [count, first, bits] = descriptor.length === 3 ? descriptor : [0, 0, 0];
  count ||= 65536; // which does not fit into 16 bits and is written as 0
  // Two entries per word, the low byte first.
  if (bits <= 8 && words.length < count) words = words.flatMap((word) => [word & 0xff, word >> 8]);
  if (bits < 1 || bits > 16 || words.length < count) {
    const entries = bits >= 1 && bits <= 16 ? ` of ${bits} bits` : " of an impossible number of bits";
    throw new ImageError(
      `the first LUT of ${keyword} has ${words.length} entries, where its descriptor states ` +
        `${descriptor.length === 3 ? `${count}${entries}` : "nothing"}; export the image again from its source`
    );
  }
  return { first: asStored(first, signed), entries: words.slice(0, count), bits };
}

/** Interpret a 16-bit word as two's complement if stored values are signed. */
const asStored = (word, signed) => (signed && word >= 32768 ? word - 65536 : word);
