// The source of predictions of a page without a service: everything is computed in this browser. It has the
// functions of the served page's module of this name, so that all other modules are the same.

import { ImageError } from "./library/errors.js";
import { besideLimits, check } from "./library/gate.js";
import { compute, openNetworks } from "./library/network.js";
import { packed } from "./library/pixels.js";
import { predictionOf } from "./library/prediction.js";
import { readRadiograph } from "./library/reading.js";
import { prepare } from "./library/resize.js";
import { readTensors } from "./library/safetensors.js";
import { pixelsSha256, smallPicture } from "./library/shown.js";

const MOST_READ = 3; // radiographs that are kept decoded
const REST = 3000; // milliseconds

/** A failure with a message for people; see the served page's module. */
export { ImageError as Failure };

let recent = []; // {file, radiograph}: promises, those used last first
const computed = new WeakMap(); // what the networks computed, by file

const loaded = Object.fromEntries(
  Object.entries({
    facts: () => json("model/facts.json"),
    model: () => json("model/model.json"),
    rules: () => json("model/rules.json"),
    gate: async () => ((await loaded.model()).gate === null ? null : readTensors(await buffer("model/gate.safetensors"))),
  }).map(([name, load]) => {
    let promise = null;
    const once = () =>
      (promise ??= load().catch((failure) => {
        promise = null; // so that trying again may help
        throw failure;
      }));
    return [name, once];
  })
);

/** Return what is true of every file: the model, and the limits of this page. */
export async function describe() {
  // While the reader chooses a file; what fails here fails again, with a message, when it is needed.
  loaded.model().then(openNetworks).then(rest).then(keepOffline).catch(() => {});
  loaded.gate().catch(() => {});
  return loaded.facts();
}

/** Wait, so that keeping the files takes no time from the first answer. */
const rest = () => new Promise((done) => setTimeout(done, REST));

/** Keep the site's files in this browser, where it can: pages by HTTPS, and those of this machine. */
function keepOffline() {
  const address = new URL("offline.js", document.baseURI).href;
  const policy = globalThis.trustedTypes?.createPolicy("thorax", {
    createScriptURL: (url) => (url === address ? url : null),
  });
  return navigator.serviceWorker?.register(policy?.createScriptURL(address) ?? address);
}

/** Return the prediction of a file, with the image to show. */
export async function predict(file) {
  const [model, radiograph] = [await loaded.model(), await readOnce(file)];
  const sha256 = await pixelsSha256(radiograph);
  const { warnings, gate } = await checked(model, radiograph, sha256);
  const result = await compute(model, prepare(radiograph, model.preparation));
  computed.set(file, { cams: result.cams, warnings });
  const { rows, columns, format, view = "" } = radiograph;
  return {
    ...predictionOf(model, result.probabilities, warnings),
    gate,
    image: { rows, columns, format, view, sha256, picture: await smallPicture(radiograph) },
  };
}

/** Return what a reader must know of an image, and what the gate measured; refuse one that it holds back. */
async function checked(model, radiograph, sha256) {
  const gate = { fit: model.preparation.fit, section: model.gate, numbers: await loaded.gate() };
  const answer = check(gate, radiograph);
  const measured = besideLimits(model.gate, answer.scores);
  if (answer.refused) throw new ImageError(`held back by the input gate: ${answer.text}`, { held: true, gate: measured });
  const seen = model.images_seen.includes(sha256)
    ? [`the ${model.name} was trained on this image: an example, not a measurement`]
    : [];
  return { warnings: [...answer.warnings, ...radiograph.doubts, ...seen], gate: measured };
}

/** Return the pixels of a file, as `readPixels` takes them. */
export async function pixels(file) {
  return packed(await readOnce(file));
}

/** Return the map of a finding in a file. */
export async function explain(file, finding) {
  const { mapOf } = await import("./library/map.js");
  const [model, radiograph] = [await loaded.model(), await readOnce(file)];
  if (!computed.has(file)) await predict(file);
  const { cams, warnings } = computed.get(file);
  const map = mapOf(model, radiograph, cams, finding);
  return { ...map, notes: [...warnings, ...map.notes] };
}

/** Return the card of the model, as Markdown. */
export async function card() {
  return (await reached("model/card.md")).text();
}

/** Return a test image as a file, so that it goes the way of every other file. */
export async function testImage(name) {
  const response = await reached(`test-images/${encodeURIComponent(name)}`);
  return new File([await response.blob()], name, { type: "image/png" });
}

/** Readers' assessments and DICOM objects need a service, and the page offers them only where there is one. */
const nowhere = async () => {
  throw new ImageError("this page keeps nothing and writes no DICOM; thorax serve does");
};
export { nowhere as addAssessments, nowhere as agreement, nowhere as assessmentsCsv, nowhere as dicomObjects };

/** Return the radiograph in a file; the last ones are kept, since page, pixels and maps ask for the same. */
function readOnce(file) {
  const known = recent.find((one) => one.file === file);
  const radiograph = known?.radiograph ?? read(file);
  recent = [{ file, radiograph }, ...recent.filter((one) => one.file !== file)].slice(0, MOST_READ);
  return radiograph;
}

async function read(file) {
  const content = await file.arrayBuffer().catch(() => {
    throw new ImageError("the file cannot be read any more; it may have been moved, changed or be a folder");
  });
  try {
    return await readRadiograph(new Uint8Array(content), loaded.rules);
  } catch (error) {
    if (error instanceof ImageError) throw error;
    throw new ImageError(`the file is damaged or inconsistent (${error.name}); export the image again from its source`);
  }
}

const json = async (address) => (await reached(address)).json();
const buffer = async (address) => (await reached(address)).arrayBuffer();

async function reached(address) {
  const response = await fetch(address).catch(() => null);
  if (response?.ok) return response;
  const what = response === null ? "cannot be reached" : `answered with status ${response.status}`;
  throw new ImageError(`${address} ${what}; see whether this site is still there`, { again: true });
}
