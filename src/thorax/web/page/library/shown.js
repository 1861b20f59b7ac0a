// What the page's list shows of a radiograph.

import { eightBit } from "./pixels.js";
import { resampled, roundHalfEven } from "./resize.js";

const SMALL = 128; // longest side in pixels of the picture in the list

/** Return the SHA-256 of size, type and gray values, as `Radiograph.pixels_sha256`; "" where a page may not. */
export async function pixelsSha256({ pixels, rows, columns }) {
  if (!crypto.subtle) return ""; // only pages that came by HTTPS, or from this machine, may
  const head = new TextEncoder().encode(`${rows} ${columns} uint${8 * pixels.BYTES_PER_ELEMENT}\n`);
  const content = new Uint8Array(head.length + pixels.byteLength);
  content.set(head);
  content.set(new Uint8Array(pixels.buffer, pixels.byteOffset, pixels.byteLength), head.length);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return a small PNG of a radiograph, in base64. */
export async function smallPicture({ pixels, rows, columns }) {
  const factor = Math.min(1, SMALL / Math.max(rows, columns));
  const [height, width] = [rows, columns].map((length) => Math.max(1, roundHalfEven(length * factor)));
  const small = resampled({ values: eightBit(pixels), rows, columns }, height, width, "box").values;
  const picture = new ImageData(width, height);
  for (let at = 0; at < small.length; at += 1) picture.data.set([small[at], small[at], small[at], 255], 4 * at);
  const canvas = new OffscreenCanvas(width, height);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const bytes = new Uint8Array(await (await canvas.convertToBlob({ type: "image/png" })).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}
