// The panel of the chosen finding: what a call means where the finding is as frequent as the reader says.

import { element, percent } from "./dom.js";
import { atPrevalence, measured, others } from "./frequencies.js";
import { modelOf } from "./models.js";

const [LEAST, MOST] = [0.001, 0.9];
const RANGE = "0.1 and 90 %";
const STEPS = 200; // of the slider, which is logarithmic: rare findings need finer steps
const COMMON = 0.05; // where the model does not say how frequent the finding was

const chosen = new Map(); // prevalence by finding, as the reader set it

/** Return how frequent a finding is, as the reader set it, or else as it was for the model. */
export const prevalenceOf = (finding) => chosen.get(finding.name) ?? within(finding.prevalence?.value ?? COMMON);

/** Return the panel; `changed` is called after the reader set another prevalence. */
export function meaningPanel(answer, finding, predicted, changed) {
  const shifted = element("p", { className: "hint" });
  const panel = element("div", { className: "meaning" });
  if (finding.sensitivity && finding.specificity) {
    panel.append(control(finding, () => show(true)), ...basis(answer, finding));
  } else {
    panel.append(element("p", { className: "hint", textContent: withoutRates(predicted) }));
  }
  panel.append(shifted);
  show(false);
  return panel;

  function show(again) {
    shifted.textContent = holdsAt(answer, finding, predicted);
    if (again) changed();
  }
}

/** Return number and slider for the prevalence, and a button that takes it back. */
function control(finding, changed) {
  const id = "prevalence";
  const field = element("input", { type: "number", id, min: "0.1", max: "90", step: "0.1" });
  const slider = element("input", { type: "range", min: "0", max: String(STEPS), step: "1" });
  slider.ariaLabel = `How frequent ${finding.label} is`;
  const reset = element("button", { type: "button", className: "quiet small" });
  const own = finding.prevalence;
  reset.textContent = own ? `As in ${own.images}: ${percent(own.value)}` : "";
  reset.hidden = !own;
  const note = element("p", { className: "hint", role: "status" });
  const show = () => {
    const value = prevalenceOf(finding);
    if (document.activeElement !== field) field.value = String(Number((100 * value).toPrecision(3)));
    slider.value = String(Math.round((STEPS * Math.log(value / LEAST)) / Math.log(MOST / LEAST)));
    slider.ariaValueText = percent(value);
    note.textContent = usedInstead(finding);
  };
  const set = (value) => {
    if (value === null) chosen.delete(finding.name);
    else chosen.set(finding.name, within(value));
    show();
    changed();
  };
  field.addEventListener("input", () => field.checkValidity() && field.value && set(field.valueAsNumber / 100));
  field.addEventListener("change", () => {
    const wanted = field.valueAsNumber / 100;
    if (Number.isNaN(wanted)) return refill(`A prevalence is a number of percent, so ${percent(prevalenceOf(finding))} stays.`);
    if (within(wanted) !== wanted) {
      set(wanted);
      refill(`${Number((100 * wanted).toPrecision(6))} % is not between ${RANGE}, so ${percent(within(wanted))} is used.`);
    } else refill("");
  });
  slider.addEventListener("input", () => set(LEAST * (MOST / LEAST) ** (slider.valueAsNumber / STEPS)));
  reset.addEventListener("click", () => set(null));
  show();
  const label = element("label", { htmlFor: id, textContent: `Your prevalence: how many of such patients have ${finding.label}` });
  return element("div", { className: "prevalence-control" }, label, element("span", {}, field, " %"), slider, reset, note);

  /** Show in the field what is used, and say why it is not what was typed. */
  function refill(why) {
    field.value = String(Number((100 * prevalenceOf(finding)).toPrecision(3)));
    note.textContent = why || usedInstead(finding);
  }
}

/** Return why the counts begin with another prevalence than the model's own; "" if they do not. */
function usedInstead(finding) {
  if (chosen.has(finding.name)) return "";
  const own = finding.prevalence;
  if (!own) return `How frequent it was for the model is not known; ${percent(COMMON)} is used until you set it.`;
  if (within(own.value) === own.value) return "";
  return `In ${own.images} it was ${(100 * own.value).toPrecision(2)} %; ${percent(within(own.value))} is the closest that can be set here.`;
}

/** Return the sentences on what the counts rest on: both rates with n and interval, and where they hold. */
function basis(answer, finding) {
  const { sensitivity, specificity } = finding;
  const rates = modelOf(answer)?.rates;
  const flatters = rates?.chose_thresholds ? " The same images chose the threshold, which flatters a little." : "";
  return [
    element(
      "ul",
      { className: "rates" },
      element("li", { textContent: `With it, called: ${measured(sensitivity, "with")}` }),
      element("li", { textContent: `Without it, called: ${measured(others(specificity), "without")}` })
    ),
    element("p", {
      className: "hint",
      textContent:
        "The counts hold if sensitivity and specificity are here what they were on validation, the " +
        `${rates?.measured_on}.${flatters}`,
    }),
  ];
}

function withoutRates(predicted) {
  return predicted.threshold === null
    ? "There is no threshold for this finding: validation usually had too few images with it."
    : "This bundle does not say how often its calls are right. thorax calibrate adds that from validation images.";
}

/** Return at which prevalence the probability holds, and what it would be at the reader's. */
function holdsAt(answer, finding, predicted) {
  if (!answer.model.calibrated) return "The probability is not calibrated: 20 % need not mean that a fifth of such images have it.";
  const own = finding.prevalence;
  if (!own) return "";
  const stated = `The probability of ${percent(predicted.probability)} holds where ${percent(own.value)} of images have it, as in ${own.images}.`;
  const here = prevalenceOf(finding);
  if (Math.abs(here - within(own.value)) < 1e-9) return stated;
  return `${stated} At ${percent(here)} the same image would have ${percent(atPrevalence(predicted.probability, own.value, here))}.`;
}

const within = (value) => Math.min(Math.max(value, LEAST), MOST);
