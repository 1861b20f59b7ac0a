// The list of images: each with its state in words.

import { byId, element } from "./dom.js";

const WORDS = { waiting: "waiting", reading: "reading …", failed: "not read" };

/** Add a case to the list; `chosen` is called with it when it is clicked. */
export function addCase(one, chosen) {
  one.thumbnail = element("span", { className: "thumbnail" });
  one.state = element("span", { className: "state" });
  const words = element("span", {}, element("span", { className: "name", textContent: one.name }), one.state);
  one.button = element("button", { type: "button", className: "case" }, one.thumbnail, words);
  one.button.addEventListener("click", () => chosen(one));
  byId("cases").append(element("li", {}, one.button));
  showState(one);
}

/** Show how far a case is. */
export function showState(one) {
  one.button.dataset.state = one.progress;
  one.state.textContent = one.progress === "done" ? verdict(one.answer) : WORDS[one.progress];
  if (one.progress === "done" && !one.thumbnail.firstChild) {
    one.thumbnail.append(element("img", { src: one.picture, alt: "" }));
  }
}

/** Mark the case that is shown. */
export function markCase(one, cases) {
  for (const other of cases) other.button.ariaCurrent = other === one ? "true" : null;
}

/** Return how many findings are positive and how many are not decided, in words: "3 positive". */
export function verdict(answer) {
  const decisions = Object.values(answer.findings).map((finding) => finding.decision);
  if (decisions.every((decision) => decision === null)) return "no thresholds";
  const count = (wanted) => decisions.filter((decision) => decision === wanted).length;
  const open = count("not decided");
  return `${count("yes")} positive${open > 0 ? `, ${open} not decided` : ""}`;
}
