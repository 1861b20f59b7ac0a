// The radiograph, and the map of the chosen finding over it.

import { byId, sentence } from "./dom.js";

const VIEWS = { PA: "PA view", AP: "AP view", LL: "lateral view" };

/** Show a case: its radiograph, or the map of its chosen finding. */
export function showImage(one, labels) {
  const map = one.maps.get(one.finding);
  const shown = map !== undefined && one.heat;
  const label = labels.get(one.finding) ?? one.finding;
  byId("viewer-title").textContent = one.name;
  byId("image-facts").textContent = facts(one.answer.image);
  const image = byId("radiograph");
  image.src = shown ? map.picture : one.picture;
  image.alt = shown ? `${one.name} with the heat map of ${label}` : `Radiograph ${one.name}`;
  byId("heat").checked = shown;
  byId("heat").disabled = map === undefined;
  byId("frame").ariaBusy = String(one.computing.has(one.finding));
  byId("legend").hidden = !(shown && map.answer.place);
  byId("map-text").textContent = text(one, map, shown, label);
  if (shown) showLegend(map, label);
}

function facts(image) {
  const view = VIEWS[image.view];
  return `${image.columns} × ${image.rows} pixels${view ? `, ${view}` : ""}`;
}

function showLegend(map, label) {
  byId("scale").src = map.scale;
  byId("scale-end").textContent = map.answer.highest.toPrecision(3);
  byId("legend-text").textContent =
    `Evidence for ${label} (${map.answer.method}), scaled to the highest value in this image`;
}

function text(one, map, shown, label) {
  if (one.computing.has(one.finding)) return `Computing the heat map of ${label} …`;
  if (one.mapFailures.has(one.finding)) {
    return `There is no heat map of ${label}: ${one.mapFailures.get(one.finding)}.`;
  }
  if (!shown) return map ? `The heat map of ${label} is off.` : "";
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
