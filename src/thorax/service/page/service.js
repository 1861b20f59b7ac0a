// Calls of the service. A file is sent as it is, without its name.

import { askForToken, forgetToken, token } from "./token.js";

const TRIES = 30; // of a busy service, about a minute
const UNAUTHORIZED = 401;
const LATER = [429, 503]; // this client asks too often, or the service is busy

/**
 * A failure with a message for people; `again` says whether trying again may help, `held` that the input gate
 * took the image for something else than a chest radiograph, and `gate` has its scores beside the limits then.
 */
export class Failure extends Error {
  constructor(message, again = false, held = false, gate = null) {
    super(message);
    this.again = again;
    this.held = held;
    this.gate = gate;
  }
}

/** Return what is true of every request: the models, and the limits of the service. */
export async function describe() {
  return (await answer("v1/models")).json();
}

/** Return the prediction of a file by a model, with the image to show; without a model, by the first one. */
export async function predict(file, model = "") {
  const response = await send(file, `v1/predict?picture=true&model=${encodeURIComponent(model)}`);
  return response.json();
}

/** Return the pixels of a file, as `readPixels` takes them; packed where they do not stay on this machine. */
export async function pixels(file) {
  const here = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  return (await send(file, `v1/pixels?packed=${!here}`)).arrayBuffer();
}

/** Return the map of a finding in a file. */
export async function explain(file, finding, model = "") {
  const names = `finding=${encodeURIComponent(finding)}&model=${encodeURIComponent(model)}`;
  return (await send(file, `v1/explain?picture=false&${names}`)).json();
}

/** Return the results of a DICOM file as DICOM objects of its study, in a ZIP archive. */
export async function dicomObjects(file, model = "") {
  return (await send(file, `v1/dicom?model=${encodeURIComponent(model)}`)).blob();
}

/** Keep what a reader says of findings, all of it or nothing. */
export async function addAssessments(entries) {
  const headers = { "Content-Type": "application/json" };
  await answer("v1/assessments", { method: "POST", body: JSON.stringify(entries), headers });
}

/** Return how readers agree with each other and with the models. */
export async function agreement() {
  return (await answer("v1/agreement")).json();
}

/** Return all assessments as CSV. */
export async function assessmentsCsv() {
  return (await answer("v1/assessments.csv")).text();
}

/** Return the card of a model, as Markdown. */
export async function card(model) {
  return (await answer(`v1/models/${encodeURIComponent(model)}/card`)).text();
}

/** Return a test image as a file, so that it goes the way of every other file. */
export async function testImage(name) {
  const response = await reached(`test-images/${encodeURIComponent(name)}`);
  return new File([await response.blob()], name, { type: "image/png" });
}

async function send(file, address) {
  try {
    await file.slice(0, 1).arrayBuffer(); // the browser reads the rest itself, which is faster
  } catch {
    throw new Failure("the file cannot be read any more; it may have been moved, changed or be a folder");
  }
  return answer(address, { method: "POST", body: file, headers: { "Content-Type": "application/octet-stream" } });
}

/** Return a successful response; wait while the service is busy, and ask for its token if it needs one. */
async function answer(address, request = {}) {
  for (let attempt = 1; ; attempt += 1) {
    const sent = token();
    const headers = { ...request.headers, ...(sent && { Authorization: `Bearer ${sent}` }) };
    const response = await reached(address, { ...request, headers });
    if (response.ok) return response;
    if (response.status === UNAUTHORIZED) {
      forgetToken(sent);
      await askForToken(sent !== "");
    } else if (LATER.includes(response.status) && attempt < TRIES) {
      await pause(Number(response.headers.get("Retry-After")) || 2);
    } else {
      const content = await response.json().catch(() => ({}));
      const message = content.message ?? `the service answered with status ${response.status}`;
      const again = response.status >= 500 || [408, 429].includes(response.status);
      throw new Failure(message, again, content.error === "not-a-radiograph", content.gate ?? null);
    }
  }
}

async function reached(address, request) {
  try {
    return await fetch(address, request);
  } catch {
    throw new Failure("the service cannot be reached; see whether it is still running", true);
  }
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
