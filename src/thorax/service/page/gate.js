// What the input gate measured of an image, beside its limits.

import { element } from "./dom.js";

const NOT_FITTED = "This model has no fitted gate: only contrast, color and what the file says of itself were looked at.";
const HINT = "Scores: 0 is undecided, and the higher, the surer. Distance: the larger, the less alike.";

/** Show in a node what the gate measured; `limits` says how those of the model were set, "" if it has none. */
export function showMeasured(node, gate, limits) {
  node.replaceChildren(...(gate === null ? withoutScores(limits) : withScores(gate, limits)));
}

/** Where there is nothing to see, a fitted gate measures nothing more. */
const withoutScores = (limits) => (limits ? [] : [element("p", { className: "hint", textContent: NOT_FITTED })]);

function withScores(gate, limits) {
  const lines = linesOf(gate).map(([name, word, numbers]) =>
    element("li", {}, `${name}: `, element("strong", { textContent: word }), ` (${numbers})`)
  );
  return [
    element("ul", {}, ...lines),
    element("p", { className: "hint", textContent: `${HINT} ${limits}` }),
  ];
}

/** Return name, word and numbers of each thing that was measured. */
function linesOf({ upright, unlike, mirrored }) {
  const isUpright = upright.score >= upright.refused_below;
  const lines = [
    [
      "Upright frontal chest radiograph",
      isUpright ? "yes" : "no",
      `score ${number(upright.score, 1)}; ${number(upright.refused_below, 1)} or more passes`,
    ],
    [
      "Like the images that the model learned from",
      likeness(unlike),
      `distance ${number(unlike.score, 3)}; up to ${number(unlike.warned_above, 3)} is usual, up to ` +
        `${number(unlike.refused_above, 3)} passes`,
    ],
  ];
  // Of what is not upright, left and right mean nothing.
  if (!isUpright) return lines;
  const note = `score ${number(mirrored.score, 1)}; more than ${number(mirrored.warned_above, 1)} is noted`;
  return [...lines, ["Mirrored", mirrored.score > mirrored.warned_above ? "perhaps" : "no", note]];
}

function likeness({ score, warned_above: usual, refused_above: most }) {
  if (score <= usual) return "yes";
  return score <= most ? "less than usual" : "no";
}

/** Return a number with digits, and a minus sign that is as wide as a digit. */
const number = (value, digits) => value.toFixed(digits).replace("-", "−");
