// Which way up a picture was stored, as EXIF or XMP in its file says. Damaged metadata say nothing.

const ORIENTATION = 0x0112;
const SHORT = 3;
const LONG = 4;
const XMP_PACKET = 1 << 20;

const starts = (bytes, text) => [...text].every((letter, at) => bytes[at] === letter.charCodeAt(0));

/** Return the orientation that EXIF data state, 1 to 8; 0 if they do not, or are damaged. */
export function exifOrientation(exif) {
  const tiff = starts(exif, "Exif\0\0") ? exif.subarray(6) : exif;
  const little = starts(tiff, "II");
  if (!little && !starts(tiff, "MM")) return 0;
  const view = new DataView(tiff.buffer, tiff.byteOffset, tiff.byteLength);
  try {
    const directory = view.getUint32(4, little);
    const count = view.getUint16(directory, little);
    for (let entry = 0; entry < count; entry += 1) {
      const at = directory + 2 + 12 * entry;
      const kind = view.getUint16(at + 2, little);
      if (view.getUint16(at, little) !== ORIENTATION || (kind !== SHORT && kind !== LONG)) continue;
      const value = kind === SHORT ? view.getUint16(at + 8, little) : view.getUint32(at + 8, little);
      return value >= 1 && value <= 8 ? value : 0;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return 0;
}

/** Return the orientation that an XMP packet states, 1 to 8; 0 if it does not. */
export function xmpOrientation(xmp) {
  const text = new TextDecoder("latin1").decode(xmp.subarray(0, XMP_PACKET));
  const match = /tiff:Orientation(?:="|>)([1-8])["<]/.exec(text);
  return match ? Number(match[1]) : 0;
}

/** Return a picture `{values, rows, columns, channels}` turned upright; of an undefined orientation, as it is. */
export function turned(picture, orientation) {
  if (!(orientation >= 2 && orientation <= 8)) return picture;
  const { values, rows, columns, channels = 1 } = picture;
  const [height, width] = orientation >= 5 ? [columns, rows] : [rows, columns];
  const upright = new values.constructor(values.length);
  const source = SOURCES[orientation];
  for (let row = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1) {
      const [down, across] = source(row, column, rows - 1, columns - 1);
      const from = (down * columns + across) * channels;
      const to = (row * width + column) * channels;
      for (let channel = 0; channel < channels; channel += 1) upright[to + channel] = values[from + channel];
    }
  }
  return { ...picture, values: upright, rows: height, columns: width };
}

/** Where the pixel of an upright picture lies in the stored one, by its orientation (EXIF 2.32, tag 274). */
const SOURCES = {
  2: (row, column, bottom, right) => [row, right - column],
  3: (row, column, bottom, right) => [bottom - row, right - column],
  4: (row, column, bottom) => [bottom - row, column],
  5: (row, column) => [column, row],
  6: (row, column, bottom) => [bottom - column, row],
  7: (row, column, bottom, right) => [bottom - column, right - row],
  8: (row, column, bottom, right) => [column, right - row],
};
