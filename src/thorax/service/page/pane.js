// One image on a canvas, with its own zoom and window.

import { element } from "./dom.js";
import { Drawing } from "./drawing.js";
import { listen } from "./gestures.js";
import { extent, firstWindow, grays, withWindow } from "./lookup.js";
import { rootOf } from "./readings.js";
import { corresponding, fitted, moved, placed, resized, zoomed } from "./view.js";

const MOST = 4e6; // pixels of a canvas; finer screens are drawn coarser
const OPPOSITE = { L: "R", R: "L", A: "P", P: "A", H: "F", F: "H" };

/**
 * A place for an image. `changed(pane, what)` is called after the reader changed its "view" or "window", and
 * with "press" when a pointer is put on it; `tool()` says what dragging does.
 */
export class Pane {
  #states = new WeakMap(); // by case of the list: view and window
  #layers = [];
  #frame = 0;
  #drawing;
  #grays = { window: null, values: null };

  constructor(changed, tool) {
    this.changed = changed;
    this.one = null;
    this.image = null;
    this.canvas = element("canvas", { className: "radiograph", tabIndex: 0, role: "application" });
    this.canvas.ariaRoleDescription = "radiograph";
    this.canvas.setAttribute("aria-describedby", "keys-hint");
    this.edges = ["left", "right", "top", "bottom"].map((side) =>
      element("span", { className: `edge ${side}`, ariaHidden: "true" })
    );
    this.readout = element("p", { className: "readout", ariaHidden: "true" });
    this.notice = element("p", { className: "notice" });
    this.title = element("p", { className: "pane-title" });
    this.stage = element("div", { className: "stage" }, this.canvas, ...this.edges, this.readout, this.notice);
    this.node = element("div", { className: "pane" }, this.title, this.stage);
    this.#drawing = new Drawing(this.canvas);
    new ResizeObserver(() => this.#resize()).observe(this.stage);
    listen(
      this.canvas,
      {
        press: () => changed(this, "press"),
        pan: (across, down) => this.pan(across, down),
        zoom: (factor, point) => this.zoom(factor, point),
        adjust: (across, down) => this.adjust(across / this.canvas.width, down / this.canvas.height),
      },
      tool
    );
  }

  /** Show an image of a case, or a notice where there is none; view and window are those it had here. */
  show(one, image, notice = "") {
    if (this.one === one && this.image === image && this.notice.textContent === notice) return;
    this.one = one;
    this.image = image;
    this.#layers = [];
    this.notice.textContent = notice;
    if (image && !this.#states.has(rootOf(one))) {
      this.#states.set(rootOf(one), { view: fitted(image, this.canvas), window: firstWindow(image) });
    }
    if (image) this.view = resized(image, this.canvas, this.view);
    this.#showEdges();
    this.redraw();
  }

  /** Draw functions of (context, place) over the image; a pixel (u, v) lies at place.x + u * place.scale. */
  set layers(layers) {
    this.#layers = layers;
    this.redraw();
  }

  get #state() {
    return this.one && this.#states.get(rootOf(this.one));
  }

  get view() {
    return this.#state?.view;
  }

  set view(view) {
    this.#state.view = view;
    this.redraw();
  }

  get window() {
    return this.#state?.window;
  }

  set window(window) {
    this.#state.window = window;
    this.redraw();
  }

  // ---- what the reader does ----

  zoom(factor, point) {
    this.#look((image, canvas, view) => zoomed(image, canvas, view, factor, point));
  }

  pan(across, down) {
    this.#look((image, canvas, view) => moved(image, canvas, view, across, down));
  }

  fit() {
    this.#look(fitted);
  }

  /** Show one pixel of the image on one of the screen. */
  oneToOne() {
    this.#look((image, canvas, view) => zoomed(image, canvas, view, 1 / view.scale));
  }

  #look(change) {
    if (!this.image) return;
    this.view = change(this.image, this.canvas, this.view);
    this.changed(this, "view");
  }

  /** Show the part of the image that another pane shows of its own. */
  follow(other) {
    if (!this.image || !other.image) return;
    this.view = corresponding(other.image, other.canvas, other.view, this.image, this.canvas);
  }

  /** Move the window by shares of the extent of the values: wider to the right, brighter upwards. */
  adjust(across, down) {
    if (!this.image) return;
    const all = extent(this.image);
    this.setWindow({ center: this.window.center + down * all, width: this.window.width + across * all });
  }

  /** Set center or width, in the unit of the file. */
  setWindow(values) {
    this.useWindow(withWindow(this.image, this.window, values));
  }

  useWindow(window) {
    if (!this.image) return;
    this.window = window;
    this.changed(this, "window");
  }

  invert() {
    if (this.image) this.useWindow({ ...this.window, inverted: !this.window.inverted });
  }

  /** Return to the first view exactly. */
  reset() {
    if (!this.image) return;
    this.view = fitted(this.image, this.canvas);
    this.window = firstWindow(this.image);
    this.changed(this, "view");
    this.changed(this, "window");
  }

  // ---- drawing, once for each frame of the screen ----

  redraw() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { canvas, image } = this;
    this.readout.textContent = image ? this.#description() : "";
    if (!image) {
      this.#drawing.clear();
      return;
    }
    canvas.dataset.zoomed = String(!this.view.fits);
    this.#drawing.draw(image, placed(canvas, this.view), this.#graysOf(this.window), this.#layers);
  }

  #graysOf(window) {
    if (this.#grays.window !== window) this.#grays = { window, values: grays(this.image, window) };
    return this.#grays.values;
  }

  #description() {
    const { center, width, inverted } = this.window;
    const scale = this.view.scale * 100;
    const zoom = `${scale < 10 ? scale.toFixed(1) : Math.round(scale)} %`;
    return `${zoom} · C ${short(center)} W ${short(width)}${inverted ? " · inverted" : ""}`;
  }

  #showEdges() {
    const [row, column] = this.image?.orientation ?? [];
    const texts = [OPPOSITE[row], row, ...(column === "F" ? [] : [OPPOSITE[column], column])];
    this.edges.forEach((edge, at) => (edge.textContent = texts[at] ?? ""));
  }

  #resize() {
    const box = this.stage.getBoundingClientRect();
    if (box.width < 1 || box.height < 1) return;
    const fine = Math.min(window.devicePixelRatio, Math.sqrt(MOST / (box.width * box.height)));
    this.canvas.width = Math.round(box.width * fine);
    this.canvas.height = Math.round(box.height * fine);
    if (!this.image) return;
    this.view = resized(this.image, this.canvas, this.view);
    cancelAnimationFrame(this.#frame); // a canvas is empty after its size was set: draw at once
    this.#frame = 0;
    this.#draw();
  }
}

/** Return a number as the page shows it: whole where its digits after the point say little. */
export const short = (number) => (Math.abs(number) >= 100 ? Math.round(number) : Number(number.toPrecision(3))).toString();
