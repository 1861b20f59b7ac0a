// The findings of one image: most probable first, each with its threshold and decision in words.

import { byId, element, length, percent } from "./dom.js";

/** Show the findings of an answer; `chosen` is called with the name of the finding that is clicked. */
export function showFindings(answer, labels, meanings, chosen) {
  const ranked = Object.entries(answer.findings).sort(([, a], [, b]) => b.probability - a.probability);
  byId("summary").textContent = summary(answer);
  const warnings = answer.warnings.map((text) => element("li", { textContent: `Note: ${text}.` }));
  byId("warnings").replaceChildren(...warnings);
  byId("warnings").hidden = warnings.length === 0;
  const stated = ranked.some(([, finding]) => finding.prevalence !== undefined);
  byId("findings").classList.toggle("with-prevalence", stated);
  byId("prevalence-hint").hidden = !stated;
  byId("promise").textContent = answer.promise ? `Not decided: ${answer.promise}` : "";
  byId("promise").hidden = !answer.promise;
  byId("finding-list").replaceChildren(
    ...ranked.map(([name, finding]) =>
      element("li", {}, row(name, labels.get(name) ?? name, meanings.get(name) ?? "", finding, chosen))
    )
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
  const called = findings.filter((finding) => finding.decision !== null);
  const positive = called.filter((finding) => finding.decision === "yes").length;
  const open = called.filter((finding) => finding.decision === "not decided").length;
  if (called.length === 0) return "This model has no thresholds: it calls nothing positive or negative.";
  const those = `${called.length} findings${called.length < findings.length ? " with a threshold" : ""}`;
  const reach = positive === 1 ? "reaches its threshold" : "reach their thresholds";
  if (open > 0) return `Of ${those}, ${positive} ${positive === 1 ? "is" : "are"} positive and ${open} not decided.`;
  return positive === 0
    ? `None of ${those} reaches its threshold. That does not mean that the radiograph is normal.`
    : `${positive} of ${those} ${reach}.`;
}

function row(name, label, meaning, finding, chosen) {
  const words = { yes: "Positive", no: "Negative", "not decided": "Not decided", null: "No call" };
  const decision = words[finding.decision];
  const bar = element("span", { className: "track", ariaHidden: "true" }, element("span", { className: "fill" }));
  bar.firstChild.style.width = length(finding.probability);
  if (finding.undecided && finding.undecided[0] < finding.undecided[1]) {
    const [low, high] = finding.undecided;
    const band = element("span", { className: "band" });
    band.style.left = length(low);
    band.style.width = length(high - low);
    bar.append(band);
  }
  if (finding.threshold !== null) {
    const mark = element("span", { className: "mark" });
    mark.style.left = length(finding.threshold);
    bar.append(mark);
  }
  const threshold = finding.threshold === null ? "none" : percent(finding.threshold);
  const button = element(
    "button",
    { type: "button", className: "finding", ariaPressed: "false", title: meaning },
    element("span", { className: "label", textContent: label }),
    number("probability", percent(finding.probability)),
    number("threshold", threshold)
  );
  if (finding.prevalence !== undefined) button.append(number("prevalence", percent(finding.prevalence)));
  button.append(element("span", { className: "decision", textContent: ` ${decision}` }), bar);
  button.dataset.finding = name;
  button.dataset.positive = String(finding.decision === "yes");
  button.addEventListener("click", () => chosen(name));
  return button;
}

/** A number under its column's heading; its name is for people who do not see the columns. */
function number(name, value) {
  return element("span", { className: name }, element("span", { className: "hidden", textContent: ` ${name} ` }), value);
}
