// Cases: a file, and what a model made of it. Of one file there may be readings by several models.

import { Failure } from "./service.js";

let number = 0; // of the last case

/** Return a new case of a file, or of what could not be opened for a reason; "" is the first model. */
export function newCase({ name, file, reason }, model = "") {
  number += 1;
  return {
    id: String(number),
    file,
    name,
    model,
    readings: new Map(), // the cases of the same file by other models
    root: null, // the case that this is another reading of
    progress: reason ? "failed" : "waiting",
    answer: null,
    picture: "", // a small one, for the list
    failure: reason ? new Failure(reason) : null,
    pixels: null,
    pixelFailure: null,
    finding: null,
    maps: new Map(), // by finding
    mapFailures: new Map(), // by finding
    computing: new Set(), // findings
    heat: true,
    at: "", // when it was predicted
    revealed: false, // whether the reader asked for what the model says
    words: [], // what the reader said of its findings
  };
}

/** Return the case in the list that a reading belongs to. */
export const rootOf = (one) => one.root ?? one;

/** Return the reading of a case's file by a model; its pixels are those of the case in the list. */
export function readingBy(one, model) {
  const root = rootOf(one);
  if (model === root.model || root.progress === "failed") return root;
  if (!root.readings.has(model)) {
    const reading = { ...newCase(root, model), root, button: root.button, revealed: root.revealed };
    for (const name of ["pixels", "pixelFailure"]) {
      Object.defineProperty(reading, name, { get: () => root[name], set: (value) => (root[name] = value) });
    }
    root.readings.set(model, reading);
  }
  return root.readings.get(model);
}

/** Return cases with their readings by other models. */
export const allReadings = (cases) => cases.flatMap((one) => [one, ...one.readings.values()]);
