// DICOM files to elements within bounds, up to the pixel data; elements after them are not read.

import { ImageError } from "./errors.js";
import { inflated, joined } from "./inflate.js";

const LONG_VRS = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "UC", "UN", "UR", "UT", "SV", "UV"]);
const [PIXEL_DATA, SYNTAX, SOP_CLASS] = [0x7fe00010, 0x00020010, 0x00020002];
const [ITEM, END_OF_ITEM, END_OF_SEQUENCE] = [0xfffee000, 0xfffee00d, 0xfffee0dd];
const UNDEFINED = 0xffffffff;
const [IMPLICIT, EXPLICIT, BIG, DEFLATED] = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"];
export const NATIVE = new Set([IMPLICIT, EXPLICIT, BIG, DEFLATED]);

const [MOST_ELEMENTS, MOST_FRAGMENTS, DEEPEST] = [30_000, 100_000, 16];
const MOST_INFLATED = 400_000_000;
const LONGEST = 4096; // bytes of a text element that are looked at

const latin = (bytes) => Array.from(bytes, (byte) => (byte > 127 ? "\ufffd" : String.fromCharCode(byte))).join("");
const stripped = (text) => text.replace(/^[ \0]+|[ \0]+$/g, "");

/** The elements of a data set, or of an item of a sequence, with the bytes of each. */
class Dataset {
  constructor(reader, elements, rules) {
    Object.assign(this, { reader, elements, rules });
  }

  /** Return the bytes of an element, by its keyword or tag; null if it is absent. */
  raw(name) {
    const element = this.elements.get(typeof name === "number" ? name : this.rules.tags[name]);
    return element ? this.reader.bytes.subarray(element.begin, element.end) : null;
  }

  /** Return the values of a text element, upper-cased and stripped; [] if it is absent or empty. */
  texts(name) {
    const bytes = this.raw(name);
    if (bytes === null) return [];
    const text = latin(bytes.subarray(0, LONGEST));
    const whole = bytes.length <= LONGEST ? text : text.slice(0, Math.max(0, text.lastIndexOf("\\")));
    const values = whole.split("\\").map((part) => stripped(part).toUpperCase());
    return values.some(Boolean) ? values : [];
  }

  first(name) {
    return this.texts(name)[0] ?? "";
  }

  /** Return the 16-bit words of an element, unsigned. */
  words(name) {
    const bytes = this.raw(name) ?? new Uint8Array(0);
    const [low, high] = this.reader.little ? [0, 1] : [1, 0];
    return Array.from({ length: bytes.length >> 1 }, (_, at) => bytes[2 * at + low] | (bytes[2 * at + high] << 8));
  }

  /** Return the items of a sequence, [] if it is absent. */
  items(name) {
    const element = this.elements.get(this.rules.tags[name]);
    if (!element) return [];
    return this.reader.items(element).map((elements) => new Dataset(this.reader, elements, this.rules));
  }
}

/** Return the elements of a file, with `syntax`, `sopClass` of its meta information, `little` and `pixels`. */
export async function parse(bytes, rules) {
  const meta = readMeta(bytes);
  let [content, at, syntax] = [bytes, meta.end, meta.syntax];
  if (syntax === DEFLATED) {
    [content, at] = [await inflatedDataset(bytes.subarray(at)), 0];
  }
  const found = encodingOf(content, at, syntax);
  syntax = syntax || found.syntax;
  const reader = new Reader(content, found);
  const { elements, at: end } = reader.elements(at, content.length, 0);
  const dataset = new Dataset(reader, elements, rules);
  return Object.assign(dataset, {
    syntax,
    sopClass: meta.sopClass,
    little: found.little,
    pixels: reader.pixelData(end, syntax),
  });
}

function readMeta(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = latin(bytes.subarray(128, 132)) === "DICM" ? 132 : 0;
  const found = { syntax: "", sopClass: "" };
  for (let number = 0; number < 1000 && at + 8 <= bytes.length && view.getUint16(at, true) === 2; number += 1) {
    const tag = 0x20000 + view.getUint16(at + 2, true);
    const long = LONG_VRS.has(latin(bytes.subarray(at + 4, at + 6)));
    const begin = at + (long ? 12 : 8);
    const end = begin + (long ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true));
    const text = () => stripped(latin(bytes.subarray(begin, Math.min(end, begin + 64))));
    if (tag === SYNTAX) found.syntax = text();
    if (tag === SOP_CLASS) found.sopClass = text();
    at = end;
  }
  return { ...found, end: at };
}

async function inflatedDataset(bytes) {
  // Writers pad to an even length, and browsers refuse what follows the end of the data.
  for (const end of [bytes.length, bytes.length - 1]) {
    const content = await inflated(bytes.subarray(0, end), "deflate-raw", MOST_INFLATED + 1).catch(() => null);
    if (content === null) continue;
    if (content.length <= MOST_INFLATED) return content;
    throw new ImageError(
      `the deflated DICOM file holds more than ${MOST_INFLATED} bytes, more than a radiograph can hold; export the ` +
        "image again without deflation"
    );
  }
  throw new ImageError(
    "the deflated DICOM file is truncated or damaged; send it again, or export the image without deflation"
  );
}

/** Return how elements are written: as the first one shows, whatever the file states. */
function encodingOf(bytes, at, syntax) {
  const explicit = isVr(bytes, at + 4);
  // Of a group beyond 00FF in little-endian order, the other order makes one of the first ones.
  const big = syntax === BIG || (syntax === "" && explicit && bytes[at] === 0 && bytes[at + 1] !== 0);
  return { explicit, little: !big, syntax: big ? BIG : explicit ? EXPLICIT : IMPLICIT };
}

const isVr = (bytes, at) => [bytes[at], bytes[at + 1]].every((byte) => byte >= 65 && byte <= 90);

class Reader {
  constructor(bytes, { explicit, little }) {
    Object.assign(this, { bytes, explicit, little });
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.left = MOST_ELEMENTS;
  }

  /** Return elements by tag, up to the pixel data or the end of an item, and where they end. */
  elements(begin, limit, depth, explicit = this.explicit) {
    const elements = new Map();
    let at = begin;
    while (at + 8 <= limit) {
      const head = this.head(at, explicit);
      if (head.tag === PIXEL_DATA && depth === 0) break;
      if (head.tag === END_OF_ITEM) return { elements, at: at + 8 };
      this.left -= 1;
      if (this.left < 0 || depth > DEEPEST) {
        throw new ImageError(
          `the DICOM file has over ${MOST_ELEMENTS.toLocaleString("en-US")} elements before its pixel data, more than ` +
            "a radiograph needs; export the image again from its source"
        );
      }
      const [valueBegin, undefinedLength] = [head.value, head.length === UNDEFINED];
      const end = undefinedLength ? this.endOfItems(valueBegin, limit, depth, head) : valueBegin + head.length;
      if (elements.get(head.tag) === undefined) elements.set(head.tag, { ...head, begin: valueBegin, end: Math.min(end, limit) });
      at = end;
    }
    return { elements, at };
  }

  /** Return tag, VR, length and the place of the value of an element. */
  head(at, explicit) {
    const { view, little, bytes } = this;
    const tag = view.getUint16(at, little) * 0x10000 + view.getUint16(at + 2, little);
    if (!explicit || !isVr(bytes, at + 4) || tag >= ITEM) {
      return { tag, vr: "", length: view.getUint32(at + 4, little), value: at + 8 };
    }
    const vr = latin(bytes.subarray(at + 4, at + 6));
    if (LONG_VRS.has(vr)) return { tag, vr, length: view.getUint32(at + 8, little), value: at + 12 };
    return { tag, vr, length: view.getUint16(at + 6, little), value: at + 8 };
  }

  /** Return where a sequence of undefined length ends, behind its delimiter. */
  endOfItems(begin, limit, depth, { vr }) {
    let at = begin;
    while (at + 8 <= limit) {
      const { tag, length } = this.head(at, false);
      if (tag === END_OF_SEQUENCE) return at + 8;
      if (tag !== ITEM) throw new RangeError("neither an item nor the end of a sequence");
      at += 8;
      at = length === UNDEFINED ? this.elements(at, limit, depth + 1, vr !== "UN" && this.explicit).at : at + length;
    }
    return limit;
  }

  /** Return the elements of each item of a sequence. */
  items({ begin, end }) {
    const found = [];
    let at = begin;
    while (at + 8 <= end) {
      const { tag, length } = this.head(at, false);
      if (tag !== ITEM) break;
      const last = length === UNDEFINED ? end : Math.min(at + 8 + length, end);
      const item = this.elements(at + 8, last, 1);
      found.push(item.elements);
      at = length === UNDEFINED ? item.at : last;
    }
    return found;
  }

  /** Return the pixel data as `{content, vr, undefinedLength}`, the fragments of a compressed image as one. */
  pixelData(at, syntax) {
    if (at + 8 > this.bytes.length) return null;
    const { tag, vr, length, value } = this.head(at, this.explicit);
    if (tag !== PIXEL_DATA) return null;
    const undefinedLength = length === UNDEFINED;
    if (!undefinedLength) return { vr, content: this.bytes.subarray(value, value + length), undefinedLength };
    if (NATIVE.has(syntax)) return { vr, content: this.bytes.subarray(value), undefinedLength };
    return { vr, content: joined([new Uint8Array(0), ...this.fragments(value).slice(1)]), undefinedLength };
  }

  /** Return the items of the pixel data: the offset table, then the fragments of the image. */
  fragments(begin) {
    const { bytes, view } = this;
    const found = [];
    let at = begin;
    while (at + 8 <= bytes.length && this.head(at, false).tag === ITEM && found.length < MOST_FRAGMENTS) {
      const length = view.getUint32(at + 4, true);
      at += 8;
      if (at + length > bytes.length) {
        throw new ImageError(
          `the DICOM file is truncated: fragment ${found.length} of its compressed image has ${bytes.length - at} of ` +
            `${length} bytes; send the image again`
        );
      }
      found.push(bytes.subarray(at, at + length));
      at += length;
    }
    const rest = bytes.subarray(at, at + 4);
    if (rest.some(Boolean) && !(rest.length === 4 && this.head(at, false).tag === END_OF_SEQUENCE)) {
      throw new ImageError(
        `the DICOM file is damaged: neither a fragment of its compressed image nor its end begins at byte ${at}; send ` +
          "the image again"
      );
    }
    return found;
  }
}
