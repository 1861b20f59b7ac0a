// Why an image is not read or not predicted, in the words of the library in Python.

/** An image that cannot be read; `held`: the input gate holds it back; `gate`: its scores beside the limits then. */
export class ImageError extends Error {
  constructor(message, { held = false, again = false, gate = null } = {}) {
    super(message);
    this.held = held;
    this.again = again;
    this.gate = gate;
  }
}

/** An intact file of a kind that is not read. */
export class UnsupportedImage extends ImageError {}

const MAX_PIXELS = 100_000_000;
const MIN_SIDE = 64;

/** Refuse an image without pixels, or with so many that decoding it could exhaust memory. */
export function checkSize(height, width) {
  if (height < 1 || width < 1) {
    throw new ImageError(
      `the header says ${width} x ${height} pixels, so there is no image; export the file again from its source`
    );
  }
  if (height * width > MAX_PIXELS) {
    throw new ImageError(
      `${width} x ${height} pixels are ${Math.round((height * width) / 1e6)} megapixels, more than the ` +
        `${MAX_PIXELS / 1e6} that are allowed; shrink the image first`
    );
  }
}

/** Refuse an image that is too small. */
export function checkSide({ rows, columns }) {
  if (Math.min(rows, columns) >= MIN_SIDE) return;
  throw new ImageError(
    `${columns} x ${rows} pixels are too few for a radiograph (at least ${MIN_SIDE} per side are needed); ` +
      "give the full image, not a thumbnail"
  );
}
