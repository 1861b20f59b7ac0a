// The radiographs: one, or two side by side, with the tools that act on the one in use.

import { announce, byId, element } from "./dom.js";
import { extent, preset, PRESETS } from "./lookup.js";
import { Pane, short } from "./pane.js";

const VIEWS = { PA: "PA view", AP: "AP view", LL: "lateral view" };
const NUDGE = 0.15; // of the canvas, for each press of an arrow
const STEP = 0.02; // of the values' extent, for each press of a window's key

let panes = [];
let active = 0;
let beside = false;
let moves = {};

/**
 * Make the viewer. `used()` is called when the reader turns to another pane, `besideChanged(on)` when two
 * images are wanted or not, `step(by)` for the next or previous image, and `keys` adds keys of other modules.
 */
export function makeViewer(calls) {
  moves = calls;
  panes = [0, 1].map(() => new Pane(changed, () => (byId("tool-window").checked ? "adjust" : "pan")));
  byId("panes").append(...panes.map((pane) => pane.node));
  panes.forEach((pane, at) => pane.canvas.addEventListener("focus", () => use(at)));
  byId("window-preset").append(
    ...PRESETS.map(({ name }, at) => element("option", { value: String(at), textContent: name })),
    element("option", { value: "", textContent: "Set by hand", hidden: true })
  );
  wireTools();
  render();
}

/** Return the pane in use. */
export const current = () => panes[active];

export const isBeside = () => beside;

/** Show a case in a pane under a title: the image, or a notice while there is none. */
export function showImage(at, one, { image, notice, label, title }) {
  const pane = panes[at];
  pane.show(one, image, notice);
  pane.title.textContent = title;
  pane.canvas.ariaLabel = label;
  if (at === active) showTools();
}

/** Draw layers over the image of a case, wherever it is shown: functions of (context, place). */
export function drawOver(one, layers) {
  for (const pane of panes) if (pane.one === one) pane.layers = layers;
}

/** Draw again, after a layer changed. */
export function redraw() {
  for (const pane of panes) pane.redraw();
}

export function use(at) {
  if (at === active || (at === 1 && !beside)) return;
  active = at;
  render();
  moves.used(at);
}

export function setBeside(on) {
  if (on === beside) return;
  beside = on;
  if (!on) active = 0;
  render();
  moves.besideChanged(on);
}

function changed(pane, what) {
  const at = panes.indexOf(pane);
  if (what === "press") use(at);
  else if (what === "view" && beside && byId("link").checked) panes[1 - at].follow(pane);
  if (pane === current()) showTools();
}

function render() {
  byId("viewer").classList.toggle("beside", beside);
  panes.forEach((pane, at) => {
    pane.node.hidden = at === 1 && !beside;
    pane.node.dataset.active = String(beside && at === active);
  });
  byId("beside").ariaPressed = String(beside);
  byId("link-label").hidden = !beside;
  showTools();
}

// ---- tools ----

function showTools() {
  const { image, window } = current();
  for (const control of byId("tools").querySelectorAll("[data-needs-image]")) control.disabled = !image;
  byId("image-facts").textContent = image ? facts(image) : "";
  byId("received").textContent = image ? received(image) : "";
  if (!image) return;
  const step = niceStep(extent(image) / 100);
  for (const [id, value] of [["center", window.center], ["width", window.width]]) {
    const field = byId(`window-${id}`);
    field.step = String(step);
    if (document.activeElement !== field || !field.dataset.typing) field.value = short(value);
  }
  byId("invert").ariaPressed = String(window.inverted !== image.inverted);
  byId("window-preset").value = window.changed ? (window.preset ?? "") : "0";
}

/** Return 1, 2 or 5 times a power of ten that is about a number. */
function niceStep(number) {
  const power = 10 ** Math.floor(Math.log10(number));
  return (number / power >= 5 ? 5 : number / power >= 2 ? 2 : 1) * power;
}

function facts(image) {
  const parts = [`${image.columns} × ${image.rows} pixels`, VIEWS[image.view]];
  if (image.orientation === null) parts.push("orientation unknown");
  return parts.filter(Boolean).join(", ");
}

/** Return the sentence on what the model received: the range, the window and the inversion. */
function received(image) {
  const [low, high] = [image.low, image.high].map((number) => short(image.slope * number + image.intercept));
  const { window } = image;
  const how = window ? `, center ${short(window.center)}, width ${short(window.width)}` : "";
  const rule = image.intensity.replace(/, inverted$/, "");
  const inverted = image.inverted ? "inverted" : "not inverted";
  return `The model received: ${rule}${how}, ${inverted}; the values of this image go from ${low} to ${high}.`;
}

function usePreset(number) {
  const pane = current();
  if (!pane.image) return;
  const wanted = PRESETS[number];
  const window = preset(pane.image, pane.window, wanted);
  pane.useWindow(window.changed ? { ...window, preset: String(number) } : window);
  announce(`Window: ${wanted.name}.`);
}

function adjust(across, down) {
  const pane = current();
  if (!pane.image) return;
  pane.adjust(across, down);
  announce(`Center ${short(pane.window.center)}, width ${short(pane.window.width)}.`);
}

function zoom(factor) {
  current().zoom(factor);
  sayZoom();
}

function sayZoom() {
  if (current().image) announce(`${Math.round(current().view.scale * 100)} percent.`);
}

const pan = (across, down) => {
  const { canvas } = current();
  current().pan(-across * NUDGE * canvas.width, -down * NUDGE * canvas.height);
};

function invert() {
  current().invert();
  if (current().image) announce(current().window.inverted ? "Inverted." : "Not inverted.");
}

function reset() {
  current().reset();
  announce("The first view.");
}

function setTool(id) {
  byId(id).checked = true;
  byId("panes").dataset.tool = byId("tool-window").checked ? "window" : "pan";
}

const ACTIONS = {
  "zoom-in": () => zoom(1.25),
  "zoom-out": () => zoom(0.8),
  fit: () => (current().fit(), sayZoom()),
  "one-to-one": () => (current().oneToOne(), sayZoom()),
  "pan-left": () => pan(-1, 0),
  "pan-right": () => pan(1, 0),
  "pan-up": () => pan(0, -1),
  "pan-down": () => pan(0, 1),
  invert,
  reset,
  beside: () => setBeside(!beside),
  "keys-open": () => byId("keys").showModal(),
};

const KEYS = {
  "+": () => zoom(1.25),
  "=": () => zoom(1.25),
  "-": () => zoom(0.8),
  0: ACTIONS.fit,
  f: ACTIONS.fit,
  o: ACTIONS["one-to-one"],
  ArrowLeft: () => pan(-1, 0),
  ArrowRight: () => pan(1, 0),
  ArrowUp: () => pan(0, -1),
  ArrowDown: () => pan(0, 1),
  "Shift+ArrowLeft": () => adjust(-STEP, 0),
  "Shift+ArrowRight": () => adjust(STEP, 0),
  "Shift+ArrowUp": () => adjust(0, -STEP),
  "Shift+ArrowDown": () => adjust(0, STEP),
  w: () => setTool("tool-window"),
  p: () => setTool("tool-pan"),
  i: invert,
  r: reset,
  s: ACTIONS.beside,
  l: () => beside && byId("link").click(),
  "[": () => moves.step(-1),
  "]": () => moves.step(1),
  "?": ACTIONS["keys-open"],
  ...Object.fromEntries(PRESETS.map((_, at) => [String(at + 1), () => usePreset(at)])),
};

function wireTools() {
  for (const [id, action] of Object.entries(ACTIONS)) byId(id).addEventListener("click", action);
  for (const id of ["tool-pan", "tool-window"]) byId(id).addEventListener("change", () => setTool(id));
  setTool("tool-pan");
  for (const name of ["center", "width"]) {
    const field = byId(`window-${name}`);
    field.addEventListener("input", () => {
      field.dataset.typing = "true";
      if (field.value !== "" && current().image) current().setWindow({ [name]: field.valueAsNumber });
    });
    field.addEventListener("change", () => {
      delete field.dataset.typing;
      showTools();
    });
  }
  byId("window-preset").addEventListener("change", (event) => usePreset(Number(event.target.value)));
  byId("link").addEventListener("change", () => beside && byId("link").checked && panes[1 - active].follow(current()));
  // Only while the viewer has the focus, so that keys of the browser and of aids keep their meaning elsewhere.
  byId("viewer").addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=number], select")) return;
    if (event.key.startsWith("Arrow") && !event.target.matches("canvas")) return;
    const name = event.key.startsWith("Arrow") && event.shiftKey ? `Shift+${event.key}` : event.key;
    const action = KEYS[name] ?? KEYS[name.toLowerCase()] ?? moves.keys?.[name.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
