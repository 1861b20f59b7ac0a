// The map of the chosen finding: what is drawn over the radiograph, and what is said of it.

import { byId, sentence } from "./dom.js";

/** Return the layers that show the map of a case's chosen finding. */
export function mapLayers(one) {
  const map = one.maps.get(one.finding);
  if (!map || !one.heat || !one.pixels) return [];
  const { columns, rows } = one.pixels;
  return [
    (context, { x, y, scale }) => context.drawImage(map.picture, x, y, columns * scale, rows * scale),
  ];
}

/** Release what a map keeps. */
export function forgetMap(map) {
  URL.revokeObjectURL(map.picture.src);
  URL.revokeObjectURL(map.scale);
}

/** Show the legend and the words on the map of a case's chosen finding. */
export function showMapText(one, labels) {
  const map = one.maps.get(one.finding);
  const drawn = map !== undefined && one.heat;
  const label = labels.get(one.finding) ?? one.finding;
  byId("heat").checked = drawn;
  byId("heat").disabled = map === undefined;
  byId("panes").ariaBusy = String(one.computing.has(one.finding));
  byId("legend").hidden = !(drawn && map.answer.place);
  byId("map-text").textContent = text(one, map, drawn, label);
  if (drawn) showLegend(map, label);
}

function showLegend(map, label) {
  byId("scale").src = map.scale;
  byId("scale-end").textContent = map.answer.highest.toPrecision(3);
  byId("legend-text").textContent =
    `Evidence for ${label} (${map.answer.method}), scaled to the highest value in this image`;
}

function text(one, map, drawn, label) {
  if (one.computing.has(one.finding)) return `Computing the heat map of ${label} …`;
  if (one.mapFailures.has(one.finding)) {
    return `There is no heat map of ${label}: ${one.mapFailures.get(one.finding)}.`;
  }
  if (!drawn) return map ? `The heat map of ${label} is off.` : "";
  const { place, notes } = map.answer;
  const sentences = [];
  if (place === null) sentences.push(`No location in this image supports ${label}`);
  else {
    const [x, y] = place.map(Math.round);
    sentences.push(`Highest at x ${x}, y ${y}`);
    sentences.push("The map shows what the model used, not the outline of a lesion");
  }
  const { decision } = one.answer.findings[one.finding];
  if (decision === "no") sentences.push(`${label} is below its threshold here`);
  if (decision === "not decided") sentences.push(`Whether ${label} is there is not decided`);
  const elsewhere = [...one.answer.warnings, one.answer.model.statement]; // the page says these anyway
  // The page offers no other method, which the library's note on a map without evidence advises.
  const others = notes.filter((note) => !elsewhere.includes(note) && !note.startsWith("no location in the image"));
  return [...sentences, ...others].map(sentence).join(" ");
}
