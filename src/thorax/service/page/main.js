// The page's state and what happens to it: files become cases, cases are predicted, findings are explained.

import { showFacts, showModel } from "./about.js";
import { addCase, countCases, markCases, showState } from "./cases.js";
import { announce, byId, element, pictureUrl, sentence } from "./dom.js";
import { originText, save, saveCsv, saveJson, savePng } from "./downloads.js";
import { showExamples } from "./examples.js";
import { chosenFiles, droppedFiles } from "./files.js";
import { showMeasured } from "./gate.js";
import { markFinding, showFindings, summary } from "./findings.js";
import { isSilent, mapLayers, readMap, showMapText, wireMapTools } from "./maps.js";
import { findingOf, gateLimits, modelOf, rememberModels } from "./models.js";
import { readPixels, sizeOf } from "./pixels.js";
import { allReadings, newCase, readingBy, rootOf } from "./readings.js";
import { isHidden, showKeeping, showOwnReading, wireReader, wordPanel, wordsOf } from "./reader.js";
import { wireReaders } from "./readers.js";
import { describe, explain, Failure, pixels, predict, testImage } from "./service.js";
import { offerStudy, showStudy, wireStudy } from "./study.js";
import { current, drawOver, isBeside, makeViewer, setBeside, showImage, use } from "./viewer.js";

const AT_ONCE = 2;
const MOST_KEPT = 8; // images whose pixels are kept; those of others are asked for again
const MOST_BYTES = 3e8; // that they may take

let cases = [];
let shown = [null, null]; // the case in each pane of the viewer
let active = 0; // the pane in use, whose case has its findings shown
let picked = false; // whether the reader chose what is shown
let running = 0;
let maxBytes = Infinity;
let models = []; // names, the first one computes every file

const inUse = () => shown[active];

// ---- files ----

function take(named) {
  const added = named.map((file) => newCase(file, models[0]));
  for (const one of added) addCase(one, pick);
  cases.push(...added);
  shown[0] ??= added.find((one) => one.progress === "waiting") ?? added[0] ?? null;
  remember();
  render();
  work();
}

function clear() {
  for (const one of cases) {
    forgetMaps(one);
    URL.revokeObjectURL(one.picture);
  }
  cases = [];
  recent = [];
  setBeside(false);
  shown = [null, null];
  active = 0;
  picked = false;
  byId("cases").replaceChildren();
  remember();
  render();
  announce("All images were removed.");
  byId("choose").focus();
}

/** Keep how many images there are, nothing else, so that a reload can say why the list is empty. */
function remember() {
  sessionStorage.setItem("images", String(cases.length));
}

function showReload() {
  const before = Number(sessionStorage.getItem("images"));
  if (before === 0) return;
  byId("reload-note").hidden = false;
  byId("reload-note").textContent =
    `${before === 1 ? "The image" : `The ${before} images`} of before the reload ${before === 1 ? "is" : "are"} ` +
    `no longer here: nothing is kept, neither in this browser nor elsewhere. Choose ${before === 1 ? "it" : "them"} again.`;
  remember();
}

// ---- predictions ----

function work() {
  for (const one of allReadings(cases)) {
    if (running === AT_ONCE) return;
    if (one.progress === "waiting") run(one);
  }
}

async function run(one) {
  running += 1;
  one.progress = "reading";
  showInList(one);
  try {
    if (one.file.size > maxBytes) {
      throw new Failure(
        `the file has ${Math.ceil(one.file.size / 1e6)} MB, and this page takes ${maxBytes / 1e6} MB; ` +
          "run Thorax on your own machine for larger ones"
      );
    }
    one.answer = await predict(one.file, one.model);
    one.at = new Date().toISOString();
    one.picture = pictureUrl(one.answer.image.picture);
    one.answer.image.picture = ""; // the address above holds it
    one.progress = "done";
  } catch (failure) {
    one.failure = failure;
    one.progress = "failed";
  }
  running -= 1;
  if (!cases.includes(rootOf(one))) URL.revokeObjectURL(one.picture); // removed meanwhile
  else finished(one);
  work();
}

function showInList(one) {
  if (one.root === null) showState(one);
}

function finished(one) {
  showInList(one);
  announce(`${one.name}: ${one.progress === "done" ? said(one) : notRead(one.failure)}`);
  const done = cases.find((other) => other.progress === "done");
  if (!picked && inUse().progress === "failed" && done) show(done);
  else if (shown.includes(one)) render();
  else countCases(cases);
}

const notRead = ({ held, message }) => (held ? sentence(message) : `not read, ${message}`); // which says that it is held back

const said = (one) => (isHidden(one) ? "read; what the model says is hidden" : summary(one.answer));

// ---- pixels: asked for when an image is shown, and kept up to some memory ----

const loading = new Set();
let recent = []; // cases with pixels, those read last first

async function load(reading) {
  const one = rootOf(reading);
  if (one.pixels || one.pixelFailure || loading.has(one) || !visible(one) || one.file.size > maxBytes) return;
  loading.add(one);
  try {
    one.pixels = readPixels(await pixels(one.file));
    makeRoom(one);
  } catch (failure) {
    one.pixelFailure = failure;
  } finally {
    loading.delete(one);
  }
  if (isShown(one)) render();
}

/** Return whether a case of the list is shown, read by whichever model. */
const isShown = (one) => shown.some((other) => other !== null && rootOf(other) === one);

/** Give up the pixels of images that are not shown, those that were read first. */
function makeRoom(one) {
  recent = [one, ...recent.filter((other) => other !== one && cases.includes(other))];
  let bytes = 0;
  recent = recent.filter((other, at) => {
    bytes += sizeOf(other.pixels);
    const kept = other === one || isShown(other) || (at < MOST_KEPT && bytes <= MOST_BYTES);
    if (!kept) other.pixels = null;
    return kept;
  });
}

// ---- what is shown ----

function pick(one) {
  picked = true;
  show(readingBy(one, inUse()?.model ?? models[0]));
  work();
}

function show(one) {
  const before = inUse();
  shown[active] = one;
  if (before !== null && !shown.includes(before)) forgetMaps(before);
  render();
}

/** Show the next or the previous image. */
function step(by) {
  const at = inUse() === null ? -1 : cases.indexOf(rootOf(inUse())) + by;
  if (at < 0 || at >= cases.length) return;
  pick(cases[at]);
  announce(`${cases[at].name}.`);
}

function besideChanged(on) {
  if (on) {
    const at = cases.indexOf(shown[0] && rootOf(shown[0]));
    shown[1] = cases[at + 1] ?? cases[at - 1] ?? secondReading(shown[0]);
    use(1);
    work();
    if (cases.length > 1) announce("Two images side by side. Choose the second one in the list.");
  } else {
    shown = [shown[active], null];
    active = 0;
  }
  render();
}

/** Return the same image by another model, if there is one. */
const secondReading = (one) => one && readingBy(one, models.find((name) => name !== one.model) ?? one.model);

/** Offer the models where there are several; the one that is chosen reads the image in use. */
function offerModels() {
  byId("model-label").hidden = models.length < 2;
  byId("model").append(...models.map((name) => element("option", { value: name, textContent: name })));
  byId("model").addEventListener("change", (event) => {
    if (inUse() === null) return;
    show(readingBy(inUse(), event.target.value));
    work();
  });
}

function forgetMaps(one) {
  one.maps.clear();
  one.mapFailures.clear();
  one.finding = null;
}

/** Return whether the image of a case can be looked at: also if the input gate held it back. */
const visible = (one) => one !== null && (one.progress !== "failed" || one.failure.held);

function render() {
  const empty = cases.length === 0;
  const one = inUse();
  document.body.dataset.empty = String(empty);
  byId("drop-title").hidden = byId("drop-hint").hidden = !empty;
  byId("reload-note").hidden ||= !empty;
  byId("choose").textContent = empty ? "Choose files" : "Add files";
  byId("cases").hidden = byId("clear").hidden = empty;
  byId("viewer").hidden = !(visible(one) || isBeside());
  byId("findings").hidden = one?.progress !== "done";
  byId("failure").hidden = one?.progress !== "failed";
  byId("pending").hidden = !["waiting", "reading"].includes(one?.progress);
  markCases(shown, active);
  countCases(cases);
  showPanes();
  if (one !== null) byId("model").value = one.model;
  if (one?.progress === "done") {
    showResults(one);
  }
  if (one?.progress === "failed") {
    const held = one.failure.held;
    byId("failure-title").textContent = held ? "This image was held back" : "This file was not read";
    byId("failure").classList.toggle("held", held);
    byId("failure-name").textContent = one.name;
    byId("failure-text").textContent = sentence(one.failure.message);
    byId("failure-note").hidden = !held;
    if (held) showMeasured(byId("failure-measured"), one.failure.gate, gateLimits(one.model));
    else byId("failure-measured").replaceChildren();
    byId("again").hidden = !one.failure.again;
  }
}

/** Show what the model says of a case, or the reader's own list while that is hidden. */
function showResults(one) {
  const hidden = isHidden(one);
  byId("own-reading").hidden = !hidden;
  byId("results").hidden = hidden;
  if (hidden) {
    one.finding = null;
    showOwnReading(one, () => reveal(one));
    return;
  }
  showFindings(one.answer, toggleFinding, (name) => wordPanel(one, name));
  markFinding(one.finding);
  showMeasured(byId("gate-measured"), one.answer.gate, gateLimits(one.model));
  byId("origin-text").textContent = originText(one);
  showStudy(one);
  if (modelOf(one.answer)) showModel(modelOf(one.answer));
}

function reveal(one) {
  one.revealed = true;
  showInList(one);
  render();
  announce(said(one));
  byId("summary").focus();
}

function showPanes() {
  shown.forEach((one, at) => {
    if (at === 1 && !isBeside()) return;
    if (visible(one)) load(one);
    const title = one && models.length > 1 ? `${one.name}, ${one.model}` : (one?.name ?? "");
    showImage(at, one, { image: one?.pixels ?? null, notice: notice(one), label: description(one), title });
    if (one) drawOver(one, mapLayers(one, shown));
  });
  byId("viewer-title").textContent = inUse()?.name ?? "Radiograph";
  if (inUse()) showMapText(inUse(), shown);
}

function notice(one) {
  if (one === null || one.pixels) return "";
  if (!visible(one)) return "This file was not read.";
  return one.pixelFailure ? sentence(`the image cannot be shown: ${one.pixelFailure.message}`) : "Reading the image …";
}

function description(one) {
  if (one === null) return "No radiograph";
  return one.heat && one.maps.has(one.finding)
    ? `${one.name} with the heat map of ${findingOf(one.answer, one.finding).label}`
    : `Radiograph ${one.name}`;
}

function again() {
  const one = inUse();
  one.progress = "waiting";
  one.pixelFailure = null;
  showInList(one);
  render();
  work();
}

// ---- heat maps ----

function showMap() {
  markFinding(inUse().finding);
  showPanes();
}

function toggleFinding(name) {
  const one = inUse();
  one.finding = one.finding === name ? null : name;
  one.heat = !(one.maps.has(name) && isSilent(one.maps.get(name)));
  if (one.finding !== null && !one.maps.has(name) && !one.computing.has(name)) compute(one, name);
  showMap();
  if (one.finding === null) announce("Heat map off.");
  else if (one.maps.has(name)) tell();
}

async function compute(one, name) {
  one.computing.add(name);
  one.mapFailures.delete(name);
  try {
    const answer = await explain(one.file, name, one.model);
    if (!shown.includes(one)) return;
    one.maps.set(name, readMap(answer, one.answer.model.bundle_sha256));
    if (one.finding === name) one.heat = !isSilent(one.maps.get(name));
  } catch (failure) {
    one.mapFailures.set(name, failure.message);
  } finally {
    one.computing.delete(name);
  }
  if (inUse() !== one || one.finding !== name) return;
  showMap();
  tell();
}

function tell() {
  announce(byId("map-text").textContent);
  current().stage.scrollIntoView({ block: "nearest" });
}

// ---- wiring ----

function wireFiles() {
  for (const [button, field] of [["choose", "files"], ["choose-folder", "folder"]]) {
    const input = byId(field);
    byId(button).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      take(chosenFiles(input.files));
      input.value = ""; // so that the same file can be chosen again
    });
  }
  byId("choose-folder").hidden = !("webkitdirectory" in byId("folder"));
  let depth = 0; // dragenter and dragleave come for every element on the way
  const drag = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dragging", depth > 0);
  };
  document.addEventListener("dragenter", () => drag(1));
  document.addEventListener("dragleave", () => drag(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    drag(-depth);
    take(await droppedFiles(event.dataTransfer));
  });
}

function wire() {
  wireFiles();
  makeViewer({
    used: (at) => {
      active = at;
      render();
    },
    besideChanged,
    step,
    keys: { h: () => byId("heat").disabled || byId("heat").click() },
  });
  wireMapTools(showPanes);
  wireReader(() => {
    for (const one of cases) showState(one);
    render();
  });
  wireReaders((csv) => save(csv, "assessments.csv", "text/csv"));
  wireDownloads();
  byId("clear").addEventListener("click", clear);
  byId("again").addEventListener("click", again);
  byId("heat").addEventListener("change", (event) => {
    inUse().heat = event.target.checked;
    showMap();
  });
}

function wireDownloads() {
  const open = () => allReadings(cases).filter((one) => one.progress === "done" && !isHidden(one));
  wireStudy(inUse);
  byId("save-json").addEventListener("click", () => saveJson(open(), wordsOf));
  byId("save-csv").addEventListener("click", () => saveCsv(open()));
  byId("save-png").addEventListener("click", () => savePng(current().canvas, inUse(), drawnText(inUse())));
}

/** Return what is drawn over the radiograph, in words; "" if nothing is. */
function drawnText(one) {
  if (!one.maps.has(one.finding)) return "";
  return `Map of ${findingOf(one.answer, one.finding).label}. ${byId("legend").hidden ? "" : byId("legend-text").textContent}. ${byId("map-text").textContent}`;
}

async function start() {
  wire();
  showReload();
  render();
  try {
    const facts = await describe();
    maxBytes = facts.max_bytes;
    models = facts.models.map((model) => model.name);
    rememberModels(facts.models);
    showKeeping(facts.assessments);
    offerStudy(facts);
    showFacts(facts);
    offerModels();
    showExamples(facts.test_images, async (name) => take(chosenFiles([await testImage(name)])));
  } catch (failure) {
    byId("drop-hint").textContent = `This page does not work now: ${failure.message}.`;
    announce(byId("drop-hint").textContent);
  }
}

start();
