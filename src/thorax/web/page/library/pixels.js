// The stored values of an image, in the form in which the service sends them to the page.

import { roundHalfEven } from "./resize.js";

const UINT16_PER_UINT8 = 257;

/** Return a line of JSON, one gray for each value, and the values, as `readPixels` takes them. */
export function packed({ stored, rows, columns, view = "", laterality = "", format, bits, intensity }) {
  const { values, table, slope, intercept, window, inverted, padding, orientation } = stored;
  const said = {
    rows, columns, slope, intercept, window, inverted, padding, view, laterality, orientation, format, bits, intensity,
    bytes: values.BYTES_PER_ELEMENT,
    grays: table.length,
    coding: "raw",
  };
  const head = new TextEncoder().encode(`${JSON.stringify(said)}\n`);
  const grays = eightBit(table);
  const content = new Uint8Array(head.length + grays.length + values.byteLength);
  content.set(head);
  content.set(grays, head.length);
  content.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), head.length + grays.length);
  return content.buffer;
}

/** Return grays as screens show them. */
export const eightBit = (values) =>
  values.BYTES_PER_ELEMENT === 1 ? values : Uint8Array.from(values, (value) => roundHalfEven(value / UINT16_PER_UINT8));
