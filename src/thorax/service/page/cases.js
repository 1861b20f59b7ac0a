// The list of images: each with its state in words.

import { byId, element } from "./dom.js";
import { isHidden } from "./reader.js";

const LONGEST = 22; // letters of a name that the list shows
const WORDS = { waiting: "waiting", reading: "reading …", failed: "not read" };

/** Add a case to the list; `chosen` is called with it when it is clicked. */
export function addCase(one, chosen) {
  one.thumbnail = element("span", { className: "thumbnail" });
  one.state = element("span", { className: "state" });
  const words = element("span", {}, ...named(one.name), one.state);
  one.button = element("button", { type: "button", className: "case", title: one.name }, one.thumbnail, words);
  one.button.addEventListener("click", () => chosen(one));
  byId("cases").append(element("li", {}, one.button));
  showState(one);
}

/** Return a name; the middle of a long one is left out, since names of a series differ at their ends. */
function named(name) {
  const letters = [...name];
  if (letters.length <= LONGEST) return [element("span", { className: "name", textContent: name })];
  const short = `${letters.slice(0, LONGEST / 2 - 1).join("")}…${letters.slice(-LONGEST / 2).join("")}`;
  return [
    element("span", { className: "name", textContent: short, ariaHidden: "true" }),
    element("span", { className: "hidden", textContent: `${name} ` }),
  ];
}

/** Show how far a case is. */
export function showState(one) {
  one.button.dataset.state = one.progress;
  const words = one.failure?.held ? "held back" : WORDS[one.progress];
  one.state.textContent = one.progress === "done" ? result(one) : words;
  if (one.progress === "done" && !one.thumbnail.firstChild) {
    one.thumbnail.append(element("img", { src: one.picture, alt: "" }));
  }
}

const result = (one) => (isHidden(one) ? "read; result hidden" : verdict(one.answer));

/** Mark the cases that are shown; the one in use is the current one. */
export function markCases(shown, active) {
  for (const button of byId("cases").querySelectorAll("button")) {
    button.ariaCurrent = shown[active]?.button === button ? "true" : null;
    button.dataset.beside = String(shown[1 - active]?.button === button);
  }
}

/** Say how many images there are, how many of them were read, and how many were not. */
export function countCases(cases) {
  const count = (progress) => cases.filter((one) => one.progress === progress).length;
  const held = cases.filter((one) => one.progress === "failed" && one.failure.held).length;
  const failed = count("failed") - held;
  byId("case-count").hidden = cases.length < 2;
  byId("case-count").textContent =
    `${count("done")} of ${cases.length} read${held > 0 ? `, ${held} held back` : ""}${failed > 0 ? `, ${failed} could not be read` : ""}`;
}

/** Return how many findings are called and how many are not decided, in words: "3 called". */
export function verdict(answer) {
  const decisions = Object.values(answer.findings).map((finding) => finding.decision);
  if (decisions.every((decision) => decision === null)) return "no thresholds";
  const count = (wanted) => decisions.filter((decision) => decision === wanted).length;
  const open = count("not decided");
  return `${count("yes")} called${open > 0 ? `, ${open} not decided` : ""}`;
}
