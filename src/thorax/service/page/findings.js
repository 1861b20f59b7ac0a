// The findings of one image: most probable first, each with its threshold and decision in words.

import { byId, element, percent } from "./dom.js";

/** Show the findings of an answer; `chosen` is called with the name of the finding that is clicked. */
export function showFindings(answer, labels, chosen) {
  const ranked = Object.entries(answer.findings).sort(([, a], [, b]) => b.probability - a.probability);
  byId("summary").textContent = summary(answer);
  const warnings = answer.warnings.map((text) => element("li", { textContent: `Note: ${text}.` }));
  byId("warnings").replaceChildren(...warnings);
  byId("warnings").hidden = warnings.length === 0;
  const stated = ranked.some(([, finding]) => finding.prevalence !== undefined);
  byId("findings").classList.toggle("with-prevalence", stated);
  byId("prevalence-hint").hidden = !stated;
  byId("finding-list").replaceChildren(
    ...ranked.map(([name, finding]) => element("li", {}, row(name, labels.get(name) ?? name, finding, chosen)))
  );
}

/** Mark the finding whose map is shown, or none. */
export function markFinding(name) {
  for (const button of byId("finding-list").querySelectorAll("button")) {
    button.ariaPressed = String(button.dataset.finding === name);
  }
}

/** Return the sentence above the findings. */
export function summary(answer) {
  const findings = Object.values(answer.findings);
  const decided = findings.filter((finding) => finding.positive !== null);
  const positive = decided.filter((finding) => finding.positive).length;
  if (decided.length === 0) return "This model has no thresholds: it calls nothing positive or negative.";
  const those = `${decided.length} findings${decided.length < findings.length ? " with a threshold" : ""}`;
  const reach = positive === 1 ? "reaches its threshold" : "reach their thresholds";
  return positive === 0
    ? `None of ${those} reaches its threshold. That does not mean that the radiograph is normal.`
    : `${positive} of ${those} ${reach}.`;
}

function row(name, label, finding, chosen) {
  const decision = { true: "Positive", false: "Negative", null: "No call" }[finding.positive];
  const bar = element("span", { className: "track", ariaHidden: "true" }, element("span", { className: "fill" }));
  bar.firstChild.style.width = percent(finding.probability);
  if (finding.threshold !== null) {
    const mark = element("span", { className: "mark" });
    mark.style.left = percent(finding.threshold);
    bar.append(mark);
  }
  const threshold = finding.threshold === null ? "none" : percent(finding.threshold);
  const button = element(
    "button",
    { type: "button", className: "finding", ariaPressed: "false" },
    element("span", { className: "label", textContent: label }),
    number("probability", percent(finding.probability)),
    number("threshold", threshold)
  );
  if (finding.prevalence !== undefined) button.append(number("prevalence", percent(finding.prevalence)));
  button.append(element("span", { className: "decision", textContent: ` ${decision}` }), bar);
  button.dataset.finding = name;
  button.dataset.positive = String(finding.positive);
  button.addEventListener("click", () => chosen(name));
  return button;
}

/** A number under its column's heading; its name is for people who do not see the columns. */
function number(name, value) {
  return element("span", { className: name }, element("span", { className: "hidden", textContent: ` ${name} ` }), value);
}
