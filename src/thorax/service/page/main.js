// The page's state and what happens to it: files become cases, cases are predicted, findings are explained.

import { showFacts } from "./about.js";
import { addCase, markCase, showState, verdict } from "./cases.js";
import { announce, byId, pictureUrl, sentence } from "./dom.js";
import { showExamples } from "./examples.js";
import { markFinding, showFindings, summary } from "./findings.js";
import { rememberModels } from "./models.js";
import { describe, explain, Failure, predict, testImage } from "./service.js";
import { showImage } from "./viewer.js";

const AT_ONCE = 2;

let cases = [];
let shown = null;
let picked = false; // whether the reader chose what is shown
let running = 0;
let maxBytes = Infinity;
let labels = new Map();

// ---- files ----

function take(files) {
  const added = [...files].map((file) => ({
    file,
    name: file.name,
    progress: "waiting",
    answer: null,
    picture: "",
    failure: null,
    finding: null,
    maps: new Map(), // by finding
    mapFailures: new Map(), // by finding
    computing: new Set(), // findings
    heat: true,
  }));
  for (const one of added) addCase(one, pick);
  cases.push(...added);
  shown ??= added[0] ?? null;
  render();
  work();
}

function clear() {
  for (const one of cases) {
    forgetMaps(one);
    URL.revokeObjectURL(one.picture);
  }
  cases = [];
  shown = null;
  picked = false;
  byId("cases").replaceChildren();
  render();
  announce("All images were removed.");
  byId("choose").focus();
}

// ---- predictions ----

function work() {
  for (const one of cases) {
    if (running === AT_ONCE) return;
    if (one.progress === "waiting") run(one);
  }
}

async function run(one) {
  running += 1;
  one.progress = "reading";
  showState(one);
  try {
    if (one.file.size > maxBytes) {
      throw new Failure(
        `the file has ${Math.ceil(one.file.size / 1e6)} MB, and this service takes ${maxBytes / 1e6} MB; ` +
          "run Thorax on your own machine for larger ones"
      );
    }
    one.answer = await predict(one.file);
    one.picture = pictureUrl(one.answer.image.picture);
    one.answer.image.picture = ""; // the address above holds it
    one.progress = "done";
  } catch (failure) {
    one.failure = failure;
    one.progress = "failed";
  }
  running -= 1;
  if (!cases.includes(one)) URL.revokeObjectURL(one.picture); // removed meanwhile
  else finished(one);
  work();
}

function finished(one) {
  showState(one);
  announce(`${one.name}: ${one.progress === "done" ? summary(one.answer) : `not read, ${one.failure.message}`}`);
  const done = cases.find((other) => other.progress === "done");
  if (!picked && shown.progress === "failed" && done) show(done);
  else if (shown === one) render();
}

// ---- what is shown ----

function pick(one) {
  picked = true;
  show(one);
}

function show(one) {
  if (shown !== null && shown !== one) forgetMaps(shown);
  shown = one;
  render();
}

function forgetMaps(one) {
  for (const map of one.maps.values()) {
    URL.revokeObjectURL(map.picture);
    URL.revokeObjectURL(map.scale);
  }
  one.maps.clear();
  one.mapFailures.clear();
  one.finding = null;
}

function render() {
  const empty = cases.length === 0;
  document.body.dataset.empty = String(empty);
  byId("drop-title").hidden = byId("drop-hint").hidden = !empty;
  byId("choose").textContent = empty ? "Choose files" : "Add files";
  byId("cases").hidden = byId("clear").hidden = empty;
  byId("viewer").hidden = byId("findings").hidden = shown?.progress !== "done";
  byId("failure").hidden = shown?.progress !== "failed";
  byId("pending").hidden = empty || ["done", "failed"].includes(shown?.progress);
  markCase(shown, cases);
  if (shown?.progress === "done") {
    showFindings(shown.answer, toggleFinding);
    showMap();
  }
  if (shown?.progress === "failed") {
    byId("failure-name").textContent = shown.name;
    byId("failure-text").textContent = sentence(shown.failure.message);
    byId("again").hidden = !shown.failure.again;
  }
}

function again() {
  shown.progress = "waiting";
  showState(shown);
  render();
  work();
}

// ---- heat maps ----

function showMap() {
  markFinding(shown.finding);
  showImage(shown, labels);
}

function toggleFinding(name) {
  const one = shown;
  one.finding = one.finding === name ? null : name;
  one.heat = true;
  if (one.finding !== null && !one.maps.has(name) && !one.computing.has(name)) compute(one, name);
  showMap();
  if (one.finding === null) announce("Heat map off.");
  else if (one.maps.has(name)) tell();
}

async function compute(one, name) {
  one.computing.add(name);
  one.mapFailures.delete(name);
  try {
    const answer = await explain(one.file, name);
    if (shown !== one) return;
    one.maps.set(name, { answer, picture: pictureUrl(answer.picture), scale: pictureUrl(answer.scale) });
  } catch (failure) {
    one.mapFailures.set(name, failure.message);
  } finally {
    one.computing.delete(name);
  }
  if (shown !== one || one.finding !== name) return;
  showMap();
  tell();
}

function tell() {
  announce(byId("map-text").textContent);
  byId("frame").scrollIntoView({ block: "nearest" });
}

// ---- wiring ----

function wire() {
  const input = byId("files");
  byId("choose").addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    take(input.files);
    input.value = ""; // so that the same file can be chosen again
  });
  byId("clear").addEventListener("click", clear);
  byId("again").addEventListener("click", again);
  byId("heat").addEventListener("change", (event) => {
    shown.heat = event.target.checked;
    showMap();
  });
  let depth = 0; // dragenter and dragleave come for every element on the way
  const drag = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", () => drag(1));
  document.addEventListener("dragleave", () => drag(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drag(-depth);
    take(event.dataTransfer.files);
  });
}

async function start() {
  wire();
  render();
  try {
    const facts = await describe();
    maxBytes = facts.max_bytes;
    labels = new Map(facts.models[0].findings.map((finding) => [finding.name, finding.label]));
    rememberModels(facts.models);
    showFacts(facts);
    showExamples(facts.test_images, async (name) => take([await testImage(name)]));
  } catch (failure) {
    byId("drop-hint").textContent = `This page does not work now: ${failure.message}.`;
    announce(byId("drop-hint").textContent);
  }
}

start();
