// The map of the chosen finding: what is drawn over the radiograph, and what is said of it.

import { bytesOf, byId, element, sentence } from "./dom.js";
import { shareOf } from "./frequencies.js";
import { findingOf, modelOf } from "./models.js";

const FAINT = 0.25; // of the scale: below it the color fades, so that places without evidence stay gray
const LEGEND = 160; // colors of the legend

/** What of a map is drawn, the same for every image. */
export const display = { contour: true, box: false, opacity: 0.6 };

/** Return the map of an answer, ready to draw; `bundle` is the hash of the model's bundle. */
export function readMap(answer, bundle) {
  const { map } = answer;
  const bytes = bytesOf(map.values);
  const numbers = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const step = (map.most - map.least) / 65534;
  const values = new Float32Array(map.rows * map.columns);
  for (let at = 0; at < values.length; at += 1) {
    const number = numbers.getUint16(2 * at, true);
    values[at] = number === 0 ? NaN : map.least + (number - 1) * step;
  }
  return { answer, bundle, values, rows: map.rows, columns: map.columns, colors: bytesOf(map.colors), painted: null };
}

/** Return whether no value of a map speaks for its finding; it is then drawn only if the reader asks. */
export const isSilent = (map) => map.answer.place === null;

/** Return the layers that show the map of a case's chosen finding, on the scale that `shown` cases share. */
export function mapLayers(one, shown) {
  const map = one.maps.get(one.finding);
  if (!map || !one.pixels) return [];
  const layers = [];
  if (one.heat) layers.push((context, place) => drawHeat(context, place, map, scaleFor(map, shown), one.pixels));
  if (isSilent(map)) return layers; // half of a scale without evidence, and a box there, mean nothing
  if (display.contour) layers.push((context, place) => drawContour(context, place, map));
  if (display.box && map.answer.box) layers.push((context, place) => drawBox(context, place, map));
  return layers;
}

/** Return the scale of a map: one for all that are shown if their values compare, else its own. */
function scaleFor(map, shown) {
  const { scale } = map.answer.map;
  const alike = mapsOf(shown).filter((other) => comparable(map, other));
  if (scale.relative || alike.length < 2) return { ...scale, shared: false };
  return { low: 0, high: Math.max(...alike.map((other) => other.answer.map.scale.high)), shared: true };
}

const mapsOf = (shown) => shown.map((one) => one?.maps.get(one.finding)).filter(Boolean);

/** Values compare if the same model maps by the same method, and neither map is relative to its own mean. */
function comparable(map, other) {
  const same = other.answer.method === map.answer.method && other.bundle === map.bundle;
  return same && !other.answer.map.scale.relative && !map.answer.map.scale.relative;
}

function drawHeat(context, { x, y, scale }, map, ends, { columns, rows }) {
  const key = `${ends.low} ${ends.high}`;
  if (map.painted?.key !== key) map.painted = { key, canvas: painted(map, ends) };
  context.globalAlpha = display.opacity;
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = "high";
  context.drawImage(map.painted.canvas, x, y, columns * scale, rows * scale);
}

/** Return a canvas with a pixel for each value, in its color; what is not above the low end is transparent. */
function painted(map, { low, high }) {
  const canvas = element("canvas", { width: map.columns, height: map.rows });
  const context = canvas.getContext("2d");
  const image = context.createImageData(map.columns, map.rows);
  map.values.forEach((value, at) => paint(image.data, 4 * at, (value - low) / (high - low), map.colors));
  context.putImageData(image, 0, 0);
  return canvas;
}

function paint(data, at, share, colors) {
  if (!(share > 0)) return; // also where the network saw nothing
  const color = 3 * Math.min(255, Math.floor(256 * share));
  data[at] = colors[color];
  data[at + 1] = colors[color + 1];
  data[at + 2] = colors[color + 2];
  data[at + 3] = Math.round(255 * Math.min(1, share / FAINT));
}

function drawContour(context, { x, y, scale }, map) {
  context.beginPath();
  for (const line of map.answer.map.contour) {
    line.forEach(([across, down], at) => {
      context[at === 0 ? "moveTo" : "lineTo"](x + across * scale, y + down * scale);
    });
  }
  outline(context);
}

function drawBox(context, { x, y, scale }, map) {
  const [left, top, width, height] = map.answer.box;
  context.beginPath();
  context.rect(x + left * scale, y + top * scale, width * scale, height * scale);
  context.setLineDash([8, 5]);
  outline(context);
}

/** Draw the path so that it is seen on dark and on bright. */
function outline(context) {
  const fine = window.devicePixelRatio;
  for (const [width, color] of [[4, "rgb(0 0 0 / 75%)"], [1.75, "#fff"]]) {
    context.lineWidth = width * fine;
    context.strokeStyle = color;
    context.stroke();
  }
}

// ---- words and the legend ----

/** Show the legend and the words on the map of a case's chosen finding. */
export function showMapText(one, shown) {
  const map = one.maps.get(one.finding);
  const { label } = findingOf(one.answer ?? { model: {} }, one.finding);
  byId("heat").checked = map !== undefined && one.heat;
  byId("heat").disabled = map === undefined;
  byId("map-tools").hidden = map === undefined || (isSilent(map) && !one.heat);
  for (const name of ["contour", "box"]) byId(name).parentElement.hidden = map !== undefined && isSilent(map);
  byId("panes").ariaBusy = String(one.computing.has(one.finding));
  byId("legend").hidden = !(map && one.heat);
  byId("map-text").textContent = text(one, map, label);
  if (map && one.heat) showLegend(map, label, scaleFor(map, shown));
}

function showLegend(map, label, ends) {
  const { unit, scale } = map.answer.map;
  drawLegend(byId("scale"), map.colors);
  byId("scale-start").textContent = scale.relative ? ends.low.toPrecision(3) : "0";
  byId("scale-end").textContent = `${ends.high.toPrecision(3)}${unit ? ` ${unit}` : ""}`;
  const share = ends.shared
    ? "one scale for both images: the same color is the same value"
    : "scaled to the highest value in this image, so its colors cannot be compared with another image’s";
  byId("legend-text").textContent = scale.relative
    ? `Not evidence for ${label} (${map.answer.method}): all values are 0 or below. Colored is what lies above their ` +
      "average, the left end, up to the highest, the right end"
    : `Evidence for ${label} (${map.answer.method}), ${share}`;
}

function drawLegend(canvas, colors) {
  canvas.width = LEGEND;
  canvas.height = 1;
  const context = canvas.getContext("2d");
  context.fillStyle = "#808080";
  context.fillRect(0, 0, LEGEND, 1);
  context.globalAlpha = display.opacity;
  const strip = element("canvas", { width: LEGEND, height: 1 });
  const image = strip.getContext("2d").createImageData(LEGEND, 1);
  for (let at = 0; at < LEGEND; at += 1) paint(image.data, 4 * at, (at + 0.5) / LEGEND, colors);
  strip.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(strip, 0, 0);
}

function text(one, map, label) {
  if (one.computing.has(one.finding)) return `Computing the map of ${label} …`;
  if (one.mapFailures.has(one.finding)) return `There is no map of ${label}: ${one.mapFailures.get(one.finding)}.`;
  if (!map) return "";
  const { place, box, notes, method } = map.answer;
  const sentences = [];
  if (place === null) {
    sentences.push(
      `No location in this image supports ${label}: no value of the map is above 0, so ` +
        (one.heat ? "the colors show only where it speaks less against it" : "nothing is drawn"),
      one.heat ? "" : "“Heat map” shows where the map speaks less against it than elsewhere"
    );
  } else {
    const [x, y] = place.map(Math.round);
    const [left, top, width, height] = box.map(Math.round);
    sentences.push(`Highest at x ${x}, y ${y}, in a box of ${width} × ${height} pixels at x ${left}, y ${top}`);
  }
  sentences.push(`The map shows what the model used, not the outline of a lesion; ${hitRate(one, method)}`);
  const { decision } = one.answer.findings[one.finding];
  if (decision === "no") sentences.push(`${label} is not called: it is below its threshold here`);
  if (decision === "not decided") sentences.push(`Whether ${label} is there is not decided`);
  const elsewhere = [...one.answer.warnings, one.answer.model.statement]; // the page says these anyway
  // The page offers no other method, which the library's note on a map without evidence advises.
  const others = notes.filter((note) => !elsewhere.includes(note) && !note.startsWith("no location in the image"));
  return [...sentences, ...others].filter(Boolean).map(sentence).join(" ");
}

/** Return how often the maps of this model point at what they are of, as measured on images with boxes. */
function hitRate(one, method) {
  const measured = modelOf(one.answer)?.hit_rates.find((rates) => rates.method === method);
  if (!measured) return "how often the maps of this bundle point at what they are of was not measured";
  const own = measured.findings[one.finding];
  const { boxes, patients, ...share } = own ?? measured.pooled;
  const whose = own ? "of this finding" : "of any finding, none of them of this one";
  return (
    `in test images with ${boxes} ${boxes === 1 ? "box" : "boxes"} ${whose} (${patients} ` +
    `${patients === 1 ? "patient" : "patients"}), the highest place lay inside in ${shareOf(share, boxes)}`
  );
}

/** Wire the switches; `changed` is called after the reader changed what is drawn. */
export function wireMapTools(changed) {
  for (const name of ["contour", "box"]) {
    byId(name).checked = display[name];
    byId(name).addEventListener("change", (event) => {
      display[name] = event.target.checked;
      changed();
    });
  }
  const slider = byId("opacity");
  slider.value = String(100 * display.opacity);
  const show = () => (slider.ariaValueText = `${slider.value} percent`);
  slider.addEventListener("input", () => {
    display.opacity = slider.valueAsNumber / 100;
    show();
    changed();
  });
  show();
}
