// What the reader says of each finding: read first, then agree, disagree or amend, kept only if the service keeps it.

import { announce, byId, element } from "./dom.js";
import { findingOf } from "./models.js";
import { addAssessments } from "./service.js";

const SAID = [["1", "present"], ["0", "absent"], ["", "uncertain"]];
const VERDICTS = [["agree", "Agree"], ["disagree", "Disagree"], ["amended", "Amend"]];
const CALLED = { yes: true, no: false };

let kept = false; // whether the service keeps assessments
let first = sessionStorage.getItem("read-first") === "true";

/** Whether what the model says of a case is hidden until the reader asks. */
export const isHidden = (one) => first && !one.revealed;

/** Return what the reader said of a case, for downloads. */
export const wordsOf = (one) => one.words ?? [];

/** Wire the switch and the name; `changed` is called after reading first was switched. */
export function wireReader(changed) {
  const toggle = byId("read-first");
  toggle.checked = first;
  toggle.addEventListener("change", () => {
    first = toggle.checked;
    sessionStorage.setItem("read-first", String(first));
    changed();
  });
  const name = byId("reader");
  name.value = sessionStorage.getItem("reader") ?? "";
  name.addEventListener("input", () => sessionStorage.setItem("reader", name.value.trim()));
}

/** Show or hide what needs a service that keeps assessments. */
export function showKeeping(on) {
  kept = on;
  byId("readers").hidden = !on;
}

// ---- before the model is shown ----

/** Show the reader's own list for a case; `reveal` shows what the model says. */
export function showOwnReading(one, reveal) {
  const fields = byId("own-findings");
  if (fields.dataset.of === one.id) return; // what the reader marked must not be lost
  fields.dataset.of = one.id;
  const rows = Object.keys(one.answer.findings).map((name) => ownRow(one, name));
  fields.replaceChildren(...rows.map(({ node }) => node));
  const all = byId("own-absent");
  all.onclick = () => {
    for (const { name, field } of rows) if (field.value === "unmarked") field.value = one.marks[name] = "0";
  };
  byId("reveal").onclick = async () => {
    const marked = rows.filter(({ field }) => field.value !== "unmarked");
    const words = marked.map(({ name, field }) => word(one, name, { verdict: "read", present: presentOf(field.value) }));
    if (await keep(one, words)) reveal();
  };
}

function ownRow(one, name) {
  const field = element(
    "select",
    {},
    element("option", { value: "unmarked", textContent: "not marked" }),
    ...SAID.map(([value, textContent]) => element("option", { value, textContent }))
  );
  one.marks ??= {};
  field.value = one.marks[name] ?? "unmarked";
  field.addEventListener("change", () => (one.marks[name] = field.value)); // another image may be shown meanwhile
  const { label } = findingOf(one.answer, name);
  return { name, field, node: element("li", {}, element("label", {}, element("span", { textContent: label }), field)) };
}

// ---- after ----

/** Return the controls for the reader's word on a finding. */
export function wordPanel(one, name) {
  if (!kept) return [];
  const { label } = findingOf(one.answer, name);
  const { decision } = one.answer.findings[name];
  const state = element("p", { className: "hint", role: "status" });
  const comment = element("textarea", { rows: 2, maxLength: 2000 });
  const said = element("select", {}, ...SAID.map(([value, textContent]) => element("option", { value, textContent })));
  const amended = element("label", { className: "amended", hidden: true }, `${label} is `, said);
  const buttons = VERDICTS.map(([verdict, textContent]) => {
    const button = element("button", { type: "button", className: "quiet small", textContent, ariaPressed: "false" });
    button.disabled = verdict !== "amended" && !(decision in CALLED);
    button.addEventListener("click", () => say(verdict));
    return button;
  });
  said.addEventListener("change", () => say("amended"));
  comment.addEventListener("change", () => latest && say(latest));
  let latest = lastOf(one, name)?.verdict ?? null;
  show();
  return [
    element(
      "fieldset",
      { className: "word" },
      element("legend", { textContent: `Your word on ${label}` }),
      element("div", { className: "buttons" }, ...buttons),
      amended,
      element("label", { className: "comment" }, "Comment, with your next click or when you leave the field", comment),
      state
    ),
  ];

  async function say(verdict) {
    const present = verdict === "amended" ? presentOf(said.value) : CALLED[decision] === (verdict === "agree");
    const [entry] = [word(one, name, { verdict, present, comment: comment.value.trim() })];
    if (!(await keep(one, [entry], state))) return;
    latest = verdict;
    show();
  }

  function show() {
    VERDICTS.forEach(([verdict], at) => (buttons[at].ariaPressed = String(verdict === latest)));
    amended.hidden = latest !== "amended";
    if (latest) state.textContent = `Kept: ${latest === "amended" ? `amended, ${said.selectedOptions[0].textContent}` : latest}.`;
  }
}

const presentOf = (value) => (value === "" ? null : value === "1");

/** Return the last answer to the model on a finding by the reader whose name is there now. */
const lastOf = (one, name) =>
  wordsOf(one).findLast(
    (entry) => entry.finding === name && entry.ai_shown === "after" && entry.reader === byId("reader").value.trim()
  );

function word(one, name, said) {
  const predicted = one.answer.findings[name];
  return {
    reader: byId("reader").value.trim(),
    image: one.name,
    image_sha256: one.answer.image.sha256,
    bundle_sha256: one.answer.model.bundle_sha256,
    finding: name,
    comment: "",
    ai_shown: said.verdict === "read" ? "before" : "after",
    probability: predicted.probability,
    decision: predicted.decision ?? "",
    ...said,
  };
}

/** Keep words, also at the service if it keeps assessments; return whether that went well. */
async function keep(one, words, state = byId("own-state")) {
  state.textContent = "";
  if (kept && words.length > 0 && words[0].reader === "") {
    state.textContent = "Enter your name or a code first: it is kept with what you say.";
    byId("reader").focus();
    return false;
  }
  try {
    if (kept && words.length > 0) await addAssessments(words);
  } catch (failure) {
    state.textContent = `Not kept: ${failure.message}.`;
    announce(state.textContent);
    return false;
  }
  one.words = [...wordsOf(one), ...words];
  return true;
}
