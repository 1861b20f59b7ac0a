// Compressed DICOM images that browsers do not decode: JPEG 2000, JPEG-LS and lossless JPEG, where the site has the
// decoders of others for them (`rules.decoders`, by kind).

import { ImageError } from "./errors.js";
import { readHeader } from "./jpeg.js";

const KINDS = {
  "1.2.840.10008.1.2.4.57": "lossless",
  "1.2.840.10008.1.2.4.70": "lossless",
  "1.2.840.10008.1.2.4.80": "jpegls",
  "1.2.840.10008.1.2.4.81": "jpegls",
  "1.2.840.10008.1.2.4.90": "jpeg2000",
  "1.2.840.10008.1.2.4.91": "jpeg2000",
};
const LOSSY = new Set(["1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91"]);
const CLASSES = { jpegls: "JpegLSDecoder", jpeg2000: "J2KDecoder" };

/** Return whether the site decodes a transfer syntax. */
export const decodes = (syntax, { decoders }) => Object.hasOwn(decoders, KINDS[syntax] ?? "");

/** Return whether a transfer syntax may change values. */
export const isLossy = (syntax) => LOSSY.has(syntax);

/** Decode a gray image to the bits of its values, 8 or 16 of each. */
export async function decodeFrame(syntax, frame, layout, { decoders }) {
  const kind = KINDS[syntax];
  const bare = kind === "jpeg2000" ? codestream(frame) : frame;
  refuseOtherSize(kind === "jpeg2000" ? sizeOfCodestream(bare) : readHeader(bare), layout, frame);
  const [address, name] = [new URL(decoders[kind], document.baseURI), CLASSES[kind]];
  try {
    const values = name ? await byWasm(address, name, bare) : await losslessJpeg(address, bare);
    if (values.length !== layout.rows * layout.columns) throw new RangeError("another size");
    return layout.allocated === 16 && values.BYTES_PER_ELEMENT === 1 ? Uint16Array.from(values) : values;
  } catch (error) {
    throw new ImageError(
      `the compressed image (${frame.length} bytes) does not decode (${error?.name ?? "error"}): it is truncated or ` +
        "damaged, so send it again"
    );
  }
}

const opened = new Map(); // modules of decoders, by address

async function byWasm(address, name, frame) {
  if (!opened.has(address.href)) {
    const { default: create } = await import(address);
    opened.set(address.href, await create({ locateFile: () => address.href.replace(/js$/, "wasm") }));
  }
  const decoder = new (opened.get(address.href)[name])();
  try {
    decoder.getEncodedBuffer(frame.length).set(frame);
    decoder.decode();
    const { bitsPerSample } = decoder.getFrameInfo();
    const bytes = decoder.getDecodedBuffer().slice();
    return bitsPerSample <= 8 ? bytes : new Uint16Array(bytes.buffer);
  } finally {
    decoder.delete();
  }
}

async function losslessJpeg(address, frame) {
  const { Decoder } = await import(address);
  return new Decoder().decode(frame.slice().buffer, 0, frame.length);
}

/** Return a JPEG 2000 image without the boxes that some writers leave in front of it. */
function codestream(frame) {
  for (let at = 0; at + 3 < frame.length; at += 1) {
    if (frame[at] === 0xff && frame[at + 1] === 0x4f && frame[at + 2] === 0xff && frame[at + 3] === 0x51) {
      return frame.subarray(at);
    }
  }
  return frame.subarray(frame.length);
}

/** Return what the SIZ segment says, which always comes first (ITU-T T.800 A.5.1); null without one. */
function sizeOfCodestream(bytes) {
  if (bytes.length < 43) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const [right, bottom, left, top] = [8, 12, 16, 20].map((at) => view.getUint32(at));
  return { rows: bottom - top, columns: right - left, samples: view.getUint16(40), precision: (bytes[42] & 0x7f) + 1 };
}

function refuseOtherSize(inside, layout, frame) {
  if (inside === null) {
    throw new ImageError(
      `the compressed image has no readable header (${frame.length} bytes): the file is damaged or truncated, so send ` +
        "the image again"
    );
  }
  const { rows, columns, samples, allocated } = layout;
  const same = inside.rows === rows && inside.columns === columns && inside.samples === samples;
  if (same && inside.precision > 1 && inside.precision <= allocated) return;
  throw new ImageError(
    `the header says ${columns} x ${rows} pixels of ${samples} x ${allocated} bits, the compressed image ` +
      `${inside.columns} x ${inside.rows} of ${inside.samples} x ${inside.precision}; export the image again from its ` +
      "source"
  );
}
