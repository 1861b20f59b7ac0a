// What the model is, and what the service allows.

import { byId, element, sentence } from "./dom.js";
import { rendered } from "./markdown.js";
import { card } from "./service.js";

let shown = null; // the model that the dialog is about

/** Fill the notices and the dialog about the first model. */
export function showFacts(facts) {
  byId("about-open").hidden = false;
  byId("public-banner").hidden = !facts.public;
  byId("drop-hint").textContent =
    `PNG, JPEG or DICOM, several at once, up to ${facts.max_bytes / 1e6} MB each. ` +
    (facts.in_browser ? "Images stay in this browser: nothing is sent." : "Images are read in memory and not kept.");
  for (const id of ["about-open", "limits-open"]) {
    byId(id).addEventListener("click", () => byId("about").showModal());
  }
  byId("card-open").addEventListener("click", () => showCard(shown.name));
  showModel(facts.models[0]);
}

/** Fill the notice and the dialog about a model. */
export function showModel(model) {
  if (model === shown) return;
  shown = model;
  document.title = `Thorax: ${model.name}`;
  byId("model-name").textContent = model.name;
  byId("statement").textContent = model.statement && sentence(model.statement);
  byId("statement").hidden = !model.statement;
  byId("card-text").hidden = true;
  byId("about-title").textContent = `The model ${model.name}`;
  byId("about-text").replaceChildren(...model.origin.map((text) => element("p", { textContent: text })));
  const values = [
    ["Findings", model.findings.map((finding) => finding.label).join(", ")],
    ["Probabilities", model.calibrated ? "calibrated" : "not calibrated"],
    ["Thresholds", model.operating_point || "none"],
    ["Heat maps", model.method],
    ["Computed by", model.engine],
    ["Thorax", model.version],
    ["Bundle", `sha256 ${model.bundle_sha256.slice(0, 16)}…`],
  ];
  byId("about-facts").replaceChildren(
    ...values.flatMap(([term, value]) => [
      element("dt", { textContent: term }),
      element("dd", { textContent: value }),
    ])
  );
}

async function showCard(name) {
  const text = byId("card-text");
  text.replaceChildren(...rendered(await card(name).catch((failure) => sentence(failure.message))));
  text.hidden = false;
  text.focus();
}
