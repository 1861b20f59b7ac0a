// How readers agree with each other and with the model, and what they said as CSV.

import { byId, element } from "./dom.js";
import { agreement, assessmentsCsv } from "./service.js";
import { findingOf } from "./models.js";

const STATES = { before: "before seeing the model", after: "after seeing it" };

/** Wire the dialog; `saved` receives the CSV. */
export function wireReaders(saved) {
  byId("readers-open").addEventListener("click", async () => {
    byId("readers-dialog").showModal();
    await show();
  });
  byId("readers-csv").addEventListener("click", async () => {
    try {
      saved(await assessmentsCsv());
    } catch (failure) {
      byId("readers-state").textContent = `${failure.message}.`;
    }
  });
}

async function show() {
  const state = byId("readers-state");
  const body = byId("readers-rows");
  try {
    const { agreement: rows } = await agreement();
    body.replaceChildren(...rows.map(row));
    state.textContent = rows.length === 0 ? "Nothing to compare yet: two readers, or a reader and a call, on one image." : "";
    byId("readers-table").hidden = rows.length === 0;
  } catch (failure) {
    state.textContent = `${failure.message}.`;
  }
}

function row(entry) {
  const label = findingOf({ model: entry }, entry.finding).label;
  const kappa = entry.kappa?.map(number);
  const texts = [
    label,
    `${entry.first} and ${entry.second}`,
    STATES[entry.ai_shown],
    `${entry.agreed} of ${entry.images}`,
    kappa ? `${kappa[0]} (${kappa[1]} to ${kappa[2]})` : "n/a",
  ];
  return element("tr", {}, ...texts.map((text, at) => element(at === 0 ? "th" : "td", { textContent: text, ...(at === 0 && { scope: "row" }) })));
}

const number = (value) => value.toFixed(2).replace("-", "−");
