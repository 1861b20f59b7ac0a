// Read DICOM files as radiographs, as thorax.imaging.dicom does: parse, refuse other images, decode, convert to gray,
// describe.

import { ImageError, UnsupportedImage } from "./errors.js";
import { doubtsAbout } from "./grays.js";
import { describedByHeader, refuseOtherImages } from "./dicom_header.js";
import { readGrayRule } from "./dicom_grays.js";
import { parse } from "./dicom_parsing.js";
import { decodeCodes, decodeColors, readLayout } from "./dicom_pixels.js";
import { convert } from "./windowing.js";

const MAX_GRAY_SPREAD = 8; // JPEG rounds color differences: channels of a gray image may differ by a few levels

/** Return the radiograph in a DICOM file; `rules` are those of the library for headers. */
export async function readDicom(bytes, rules) {
  const dataset = await parse(bytes, rules);
  try {
    return await read(dataset, rules);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError(
      `the DICOM file is damaged or inconsistent (${error.name}); export the image again from its source`
    );
  }
}

async function read(dataset, rules) {
  refuseOtherImages(dataset, rules);
  const layout = readLayout(dataset);
  const { doubts, ...said } = describedByHeader(dataset, rules);
  const { rows, columns } = layout;
  const known = { rows, columns, colored: 0, format: "DICOM", bits: layout.stored, ...said };
  if (layout.samples !== 1) return { ...known, ...(await grayOfColors(dataset, layout, rules, doubts)) };
  const rule = readGrayRule(dataset, layout, rules);
  const codes = await decodeCodes(dataset, layout, rules);
  const conversion = convert(rule, codes, rows, columns);
  const pixels = codes.constructor === conversion.table.constructor ? codes.slice() : new conversion.table.constructor(codes.length);
  for (let at = 0; at < codes.length; at += 1) pixels[at] = conversion.table[codes[at]];
  return {
    ...known,
    pixels,
    intensity: conversion.intensity,
    doubts: [...conversion.doubts, ...doubtsAbout(pixels, rows, columns), ...doubts],
    stored: { ...storedAs(rule, layout, codes, conversion), orientation: said.orientation },
  };
}

/** Return the stored values in their own order, so that those of neighbors can be averaged, with the gray of each. */
function storedAs(rule, layout, codes, { table, padded, window }) {
  const negative = rule.signed ? 1 << (layout.stored - 1) : 0;
  const rolled = (values) => values.map((_, at) => values[at ^ negative]);
  const { slope = 1, intercept = 0 } = rule.modality.entries ? {} : rule.modality;
  const ends = rolled(padded);
  const padding = ends.includes(1) ? [ends.indexOf(1), ends.lastIndexOf(1)] : null;
  return {
    values: negative ? codes.map((code) => code ^ negative) : codes,
    table: rolled(table),
    slope,
    intercept: intercept - slope * negative,
    window: rule.modality.entries ? null : window,
    inverted: rule.inverted,
    padding,
  };
}

/** Return the gray of a color image without colors; lossy codecs may spread it by a few levels. */
async function grayOfColors(dataset, layout, rules, doubts) {
  if (layout.allocated !== 8) {
    throw new UnsupportedImage(
      `a color image with ${layout.allocated} bits per sample; export the image as gray`
    );
  }
  const colors = await decodeColors(dataset, layout, rules);
  const pixels = new Uint8Array(layout.rows * layout.columns);
  let spread = 0;
  for (let at = 0, from = 0; at < pixels.length; at += 1, from += 3) {
    const [red, green, blue] = [colors[from], colors[from + 1], colors[from + 2]];
    spread = Math.max(spread, Math.max(red, green, blue) - Math.min(red, green, blue));
    pixels[at] = green;
  }
  if (spread > MAX_GRAY_SPREAD) {
    throw new UnsupportedImage(
      `a color image (its channels differ by up to ${spread} of 255), perhaps a screenshot or a page of results; ` +
        "give the original gray radiograph"
    );
  }
  const signed = layout.signed
    ? ["its colors are stated to have signs, which colors cannot have; they were read without"]
    : [];
  return {
    pixels,
    intensity: "8-bit as stored (gray in color)",
    doubts: [...signed, ...doubtsAbout(pixels, layout.rows, layout.columns), ...doubts],
  };
}
