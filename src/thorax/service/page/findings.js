// The findings of one image in words first: called or not, what that means, and then the number.

import { announce, byId, element, length, percent } from "./dom.js";
import { count, inWords, oneIn } from "./frequencies.js";
import { meaningPanel, prevalenceOf } from "./meaning.js";
import { findingOf, modelOf } from "./models.js";

const WORDS = { yes: "Called", no: "Not called", "not decided": "Not decided", null: "No threshold" };
const ORDER = ["yes", "not decided", "no", null];

let current = null; // what the list shows

/**
 * Show the findings of an answer; `chosen` is called with the name of the finding that is clicked. `extras`
 * returns more elements for the panel of a finding, by its name.
 */
export function showFindings(answer, chosen, extras = () => []) {
  if (current?.answer === answer) return; // what the reader types must not be lost when the page draws again
  const rows = ranked(answer).map(([name, predicted]) => row(answer, name, predicted, chosen));
  current = { answer, extras, open: null };
  byId("summary").textContent = summary(answer);
  const warnings = answer.warnings.map((text) => element("li", { textContent: `Note: ${text}.` }));
  byId("warnings").replaceChildren(...warnings);
  byId("warnings").hidden = warnings.length === 0;
  byId("promise").textContent = answer.promise ? `Not decided: ${answer.promise}` : "";
  byId("promise").hidden = !answer.promise;
  byId("finding-list").replaceChildren(...rows);
}

/** Mark the finding whose map is shown, or none, and open its panel. */
export function markFinding(name) {
  for (const button of byId("finding-list").querySelectorAll("button.finding")) {
    button.ariaPressed = String(button.dataset.finding === name);
  }
  if (current === null || current.open === name) return;
  byId("finding-list").querySelector(".panel")?.remove();
  current.open = name;
  const button = byId("finding-list").querySelector(`button.finding[data-finding="${CSS.escape(name ?? "")}"]`);
  button?.after(panel(name, button));
}

/** Return the sentence above the findings. */
export function summary(answer) {
  const findings = Object.values(answer.findings);
  const called = findings.filter((finding) => finding.decision !== null);
  const positive = called.filter((finding) => finding.decision === "yes").length;
  const open = called.filter((finding) => finding.decision === "not decided").length;
  if (called.length === 0) return "This model has no thresholds: it calls nothing.";
  const those = `${called.length} findings${called.length < findings.length ? " with a threshold" : ""}`;
  const are = (count) => (count === 1 ? "is" : "are");
  const undecided = open > 0 ? ` and ${open} ${are(open)} not decided` : "";
  if (positive > 0) return `Of ${those}, ${positive} ${are(positive)} called${undecided}.`;
  const nothing = open > 0 ? `Of ${those}, none is called${undecided}.` : `Nothing is above its threshold, of ${those}.`;
  return `${nothing} ${misses(answer)}`;
}

/** Return how often findings are missed, since nothing called is not normal. */
function misses(answer) {
  const measured = (modelOf(answer)?.findings ?? []).map((finding) => finding.sensitivity).filter(Boolean);
  const present = measured.reduce((sum, share) => sum + share.images, 0);
  const missed = present - measured.reduce((sum, share) => sum + share.matching, 0);
  if (missed === 0) return "That does not mean that the radiograph is normal.";
  return (
    `That does not mean that the radiograph is normal: on validation, ${missed} of ${present} findings were ` +
    `missed at these thresholds, ${oneIn(missed / present)}.`
  );
}

/** Return the findings: called first, then not decided, then the others; the most probable of each first. */
function ranked(answer) {
  const place = (finding) => ORDER.indexOf(finding.decision);
  return Object.entries(answer.findings).sort(
    ([, a], [, b]) => place(a) - place(b) || b.probability - a.probability
  );
}

function row(answer, name, predicted, chosen) {
  const finding = findingOf(answer, name);
  const button = element(
    "button",
    { type: "button", className: "finding", ariaPressed: "false", title: finding.meaning },
    element("span", { className: "label", textContent: finding.label }),
    element("span", { className: "decision", textContent: ` ${WORDS[predicted.decision]} ` }),
    element("span", { className: "frequency", textContent: sentenceOf(finding, predicted) }),
    element("span", { className: "rests", textContent: restsOn(finding, predicted) }),
    numbers(predicted, finding),
    bar(predicted)
  );
  button.dataset.finding = name;
  button.dataset.decision = predicted.decision ?? "none";
  button.addEventListener("click", () => chosen(name));
  return element("li", {}, button);
}

const sentenceOf = (finding, predicted) =>
  predicted.decision === null ? "" : inWords(finding, predicted.decision, prevalenceOf(finding));

/** Return how many patients the counts rest on; the intervals are in the panel. */
function restsOn({ sensitivity, specificity }, predicted) {
  if (predicted.decision === null || !sensitivity || !specificity) return "";
  return ` From ${count(sensitivity.patients)} validation patients with it and ${count(specificity.patients)} without. `;
}

/** Return the line of numbers: probability, threshold, and the prevalence at which the probability holds. */
function numbers(predicted, finding) {
  const parts = [
    number("probability", percent(predicted.probability)),
    number("threshold", predicted.threshold === null ? "none" : percent(predicted.threshold)),
  ];
  const known = predicted.prevalence ?? finding.prevalence?.value;
  const images = finding.prevalence?.images ?? "training";
  if (known !== undefined) parts.push(number(`prevalence in ${images}`, percent(known)));
  return element("span", { className: "numbers" }, ...parts);
}

/** Return a number with its name; that of the probability, the first one, is for people who do not see the line. */
function number(name, value) {
  const words = element("span", { className: name === "probability" ? "hidden" : "", textContent: ` ${name} ` });
  return element("span", { className: name.split(" ")[0] }, words, `${value} `);
}

function bar(predicted) {
  const track = element("span", { className: "track", ariaHidden: "true" }, element("span", { className: "fill" }));
  track.firstChild.style.width = length(predicted.probability);
  if (predicted.undecided && predicted.undecided[0] < predicted.undecided[1]) {
    const [low, high] = predicted.undecided;
    const band = element("span", { className: "band" });
    band.style.left = length(low);
    band.style.width = length(high - low);
    track.append(band);
  }
  if (predicted.threshold !== null) {
    const mark = element("span", { className: "mark" });
    mark.style.left = length(predicted.threshold);
    track.append(mark);
  }
  return track;
}

function panel(name, button) {
  const { answer, extras } = current;
  const finding = findingOf(answer, name);
  const predicted = answer.findings[name];
  const changed = () => {
    const words = sentenceOf(finding, predicted);
    button.querySelector(".frequency").textContent = words;
    announce(words);
  };
  return element("div", { className: "panel" }, meaningPanel(answer, finding, predicted, changed), ...extras(name));
}
