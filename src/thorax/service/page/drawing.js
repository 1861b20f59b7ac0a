// Draws the visible part of an image: values first, then their gray.

import { levelFor } from "./pixels.js";

const FINE = 7; // bits of a weight between two neighbors

/** Draws images on one canvas; what did not change since the last time is not computed again. */
export class Drawing {
  #context;
  #frame = null;
  #screen = null;
  #values = null; // of each pixel of the canvas
  #part = null; // which of them lie on the image
  #last = {};

  constructor(canvas) {
    this.canvas = canvas;
    this.#context = canvas.getContext("2d");
  }

  /** Draw an image at a place with the gray of each value, then layers over it: `layer(context, place)`. */
  draw(image, place, grays, layers) {
    const { width, height } = this.canvas;
    if (this.#frame?.width !== width || this.#frame.height !== height) {
      this.#frame = this.#context.createImageData(width, height);
      this.#screen = new Uint32Array(this.#frame.data.buffer);
      this.#values = new Uint16Array(width * height);
      this.#last = {};
    }
    const { x, y, scale } = place;
    const last = this.#last;
    if (last.image !== image || last.x !== x || last.y !== y || last.scale !== scale) {
      this.#part = sample(image, place, this.#values, width, height);
      this.#screen.fill(0);
      this.#last = { image, x, y, scale };
    }
    shade(this.#values, this.#part, grays, this.#screen, width);
    this.#context.putImageData(this.#frame, 0, 0);
    for (const layer of layers) {
      this.#context.save();
      layer(this.#context, place);
      this.#context.restore();
    }
  }

  clear() {
    this.#context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.#last = {};
    this.#screen?.fill(0);
  }
}

/** Interpolate the values under each pixel of the canvas; return which pixels lie on the image. */
function sample(image, place, values, width, height) {
  const level = levelFor(image, place.scale);
  const across = neighbors(place.x, place.scale, level.reduced, level.columns, image.columns, width);
  const down = neighbors(place.y, place.scale, level.reduced, level.rows, image.rows, height);
  const source = level.values;
  const shift = 2 * FINE;
  const half = 1 << (shift - 1);
  const { first: left, last: right, below: xs, above: nexts, weight: weights } = across;
  for (let row = down.first; row < down.last; row += 1) {
    const upper = down.below[row] * level.columns;
    const lower = down.above[row] * level.columns;
    const weight = down.weight[row];
    const start = row * width;
    for (let column = left; column < right; column += 1) {
      const near = xs[column];
      const far = nexts[column];
      const share = weights[column];
      const a = (source[upper + near] << FINE) + (source[upper + far] - source[upper + near]) * share;
      const b = (source[lower + near] << FINE) + (source[lower + far] - source[lower + near]) * share;
      values[start + column] = ((a << FINE) + (b - a) * weight + half) >> shift;
    }
  }
  return { left, right, top: down.first, bottom: down.last };
}

/** Return, along one side, the pixels of the canvas on the image, and between which values each lies. */
function neighbors(corner, scale, reduced, length, whole, size) {
  const first = Math.min(Math.max(0, Math.ceil(corner - 0.5)), size);
  const last = Math.max(first, Math.min(size, Math.ceil(corner + whole * scale - 0.5)));
  const below = new Int32Array(size);
  const above = new Int32Array(size);
  const weight = new Int32Array(size);
  for (let at = first; at < last; at += 1) {
    const place = Math.min(Math.max((at + 0.5 - corner) / scale / reduced - 0.5, 0), length - 1);
    below[at] = Math.floor(place);
    above[at] = Math.min(below[at] + 1, length - 1);
    weight[at] = Math.round((place - below[at]) * (1 << FINE));
  }
  return { first, last, below, above, weight };
}

function shade(values, { left, right, top, bottom }, grays, screen, width) {
  const colors = new Uint32Array(grays.length);
  for (let value = 0; value < grays.length; value += 1) colors[value] = (0xff000000 | (grays[value] * 0x010101)) >>> 0;
  for (let row = top; row < bottom; row += 1) {
    const end = row * width + right;
    for (let at = row * width + left; at < end; at += 1) screen[at] = colors[values[at]];
  }
}
