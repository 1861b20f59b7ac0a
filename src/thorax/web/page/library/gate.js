// The input gate: whether an image is a radiograph like those that the model learned from, and why not. The twin
// of thorax.inference.gate and .gate_scores.

import { features, inverted, mirrored, thumbnail, turned } from "./gate_features.js";
import { commonest, counted, NEARLY_ALL, percent, sampled, whiteOf } from "./grays.js";

const NARROW = 1 / 16;
const MOST_COLORED = 0.01;
const CHILD = 16;
const FEW_CHILDREN = 0.05;
const FEW = 0.01;
const [INVERTED, LATERAL, OTHER] = [4, 8, 9]; // classes of the net

const TURNED = [
  ["turned-270", "it is turned by 90 degrees counterclockwise; turn it back, 90 degrees clockwise"],
  ["turned-180", "it is turned by 180 degrees; turn it back"],
  ["turned-90", "it is turned by 90 degrees clockwise; turn it back, 90 degrees counterclockwise"],
];
const NO_REMEDY =
  "it may not be a chest radiograph: turning it or exchanging black and white would not make it pass; give a frontal " +
  "one, PA or AP";
const REMEDY = "give the radiograph with the full range of its values";

/** What the gate says of one image: reasons `{code, level, text, score, limit}`, refusals first, and its scores or null. */
class GateAnswer {
  constructor(reasons, scores) {
    const of = (level) => reasons.filter((reason) => reason.level === level);
    this.refusals = of("refuse");
    this.reasons = [...this.refusals, ...of("warn")];
    this.refused = this.refusals.length > 0;
    this.scores = scores;
    this.warnings = of("warn").map(({ text }) => text);
    this.text = this.refusals.map(({ text }) => text).join("; moreover, ");
  }
}

/**
 * Say whether a radiograph may be predicted, and what a reader must know of it. `gate` has `fit`, the manifest's
 * `section` and the `numbers` of the bundle's gate; the last two are null for a bundle without one.
 */
export function check(gate, radiograph) {
  const { reasons, scores: found } = ofPixels(gate, radiograph);
  const header = [...ofColor(radiograph.colored), ...ofHeader(radiograph), ...ofAge(gate, radiograph.age ?? null)];
  return new GateAnswer([...reasons, ...header], found);
}

/** Return the scores of an image beside the limits; null without scores. The twin of `describe_gate` of the service. */
export function besideLimits(section, found) {
  if (found === null) return null;
  return {
    upright: { score: found.upright, refused_below: section.least_upright },
    unlike: { score: found.unlike, warned_above: section.most_unlike, refused_above: section.too_unlike },
    mirrored: { score: found.mirror, warned_above: section.most_mirrored },
  };
}

const reason = (code, level, text, score = null, limit = null) => ({ code, level, text, score, limit });

function ofPixels(gate, radiograph) {
  const nothing = ofContrast(radiograph);
  if (nothing.length > 0 || gate.numbers === null) return { reasons: nothing, scores: null };
  const values = features(thumbnail(radiograph, gate.fit));
  const found = scores(gate.numbers, values);
  return { reasons: ofPicture(gate.section, gate.numbers, values, found), scores: found };
}

/** Return the reason for which there is nothing to see in an image, if there is one. */
function ofContrast({ pixels, rows, columns }) {
  const some = sampled(pixels, rows, columns);
  const most = commonest(some);
  if (most >= NEARLY_ALL) {
    const pass = `less than ${percent(NEARLY_ALL)} pass`;
    const text = `${percent(most)} of the pixels have the same gray (${pass}), so there is nothing to see; ${REMEDY}`;
    return [reason("no-contrast", "refuse", text, most, NEARLY_ALL)];
  }
  some.sort();
  const [low, high] = [0.01, 0.99].map((share) => quantile(some, share) / whiteOf(pixels));
  if (high - low >= NARROW) return [];
  const grays =
    `nearly all of its grays lie between ${percent(low)} and ${percent(high)} of white, less than a ` +
    "sixteenth of the range";
  return [reason("no-contrast", "refuse", `${grays}; ${REMEDY}`, high - low, NARROW)];
}

/** Return a quantile of sorted values, interpolated linearly as NumPy does. */
function quantile(sorted, share) {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (sorted[above] - sorted[below]) * (place - below);
}

/** Return what the nets of the gate find in an image with these features. */
function ofPicture(section, numbers, values, { upright, looksLike, unlike, mirror }) {
  if (!(upright >= section.least_upright)) {
    const right = scores(numbers, righted(values, looksLike));
    const passes = right.upright >= section.least_upright && right.unlike <= section.too_unlike;
    return lookingLike(looksLike, passes).map(([code, text]) => reason(code, "refuse", text, upright, section.least_upright));
  }
  if (!(unlike <= section.too_unlike)) {
    const text =
      "it is far from all images that the model learned from; give a frontal chest radiograph without anything around it";
    return [reason("unlike-training", "refuse", text, unlike, section.too_unlike)];
  }
  const found = [];
  if (unlike > section.most_unlike) {
    const text =
      `it is unlike the images that the model learned from (distance ${unlike.toFixed(3)}, and ` +
      `${section.most_unlike.toFixed(3)} is usual); the probabilities may not hold for it`;
    found.push(reason("unlike-training", "warn", text, unlike, section.most_unlike));
  }
  if (mirror > section.most_mirrored) {
    const rate = ({ count, of }) => `${counted(count)} of ${counted(of)}`;
    const text =
      `it is perhaps mirrored: found in ${rate(section.mirrored_caught)} mirrored copies of validation images, and ` +
      `in ${rate(section.mirrored_called)} as they are; compare it with the side marker`;
    found.push(reason("mirrored", "warn", text, mirror, section.most_mirrored));
  }
  return found;
}

/** Return the features of an image upright and not inverted, if it is what it looks like. */
function righted(values, kind) {
  if (kind === LATERAL || kind === OTHER) return values;
  const upright = turned(values, -(kind % INVERTED));
  return kind >= INVERTED ? inverted(upright) : upright;
}

/** Return what an image is that is not an upright frontal chest radiograph, and what would pass. */
function lookingLike(kind, rightedPasses) {
  if (kind === OTHER) return [["not-a-chest-radiograph", "it is not a chest radiograph; give a frontal one, PA or AP"]];
  if (kind === LATERAL) return [["lateral", "it looks like a lateral view; give the frontal view, PA or AP"]];
  if (!rightedPasses) return [["not-a-chest-radiograph", NO_REMEDY]];
  const found = kind % INVERTED > 0 ? [TURNED[(kind % INVERTED) - 1]] : [];
  if (kind >= INVERTED) found.push(["inverted", "it is inverted, bone is dark; exchange black and white"]);
  return found;
}

/** Return the scores of an image with these features. */
function scores(numbers, values) {
  const hidden = layer(values, numbers.hidden, numbers.hidden_bias).map((value) => Math.max(value, 0));
  const classes = layer(hidden, numbers.out, numbers.out_bias);
  const others = classes.slice(1);
  const most = Math.max(...others);
  const otherClasses = most + Math.log(others.reduce((sum, value) => sum + Math.exp(value - most), 0));
  return {
    upright: classes[0] - otherClasses,
    looksLike: 1 + others.indexOf(most),
    unlike: distance(numbers, values),
    mirror: (mirrorScore(numbers, values) - mirrorScore(numbers, mirrored(values))) / 2,
  };
}

/** Return values @ weights + bias. */
function layer(values, { shape: [, outputs], values: weights }, bias) {
  const result = bias ? Float64Array.from(bias.values) : new Float64Array(outputs);
  for (let row = 0, at = 0; row < values.length; row += 1) {
    const value = values[row];
    for (let output = 0; output < outputs; output += 1, at += 1) result[output] += value * weights[at];
  }
  return result;
}

function mirrorScore(numbers, values) {
  const hidden = layer(values, numbers.mirror, numbers.mirror_bias);
  return hidden.reduce((sum, value, at) => sum + Math.max(value, 0) * numbers.mirror_out.values[at], 0);
}

/** Return the part of the features that the directions of the training images do not explain. */
function distance({ mean, axes }, values) {
  const apart = Float64Array.from(values, (value, at) => value - mean.values[at]);
  const rest = apart.slice();
  const [count, length] = axes.shape;
  for (let axis = 0; axis < count; axis += 1) {
    const direction = axes.values.subarray(axis * length, (axis + 1) * length);
    const along = apart.reduce((sum, value, at) => sum + value * direction[at], 0);
    for (let at = 0; at < length; at += 1) rest[at] -= along * direction[at];
  }
  return Math.sqrt(rest.reduce((sum, value) => sum + value * value, 0) / rest.length);
}

function ofColor(colored) {
  if (!(colored > MOST_COLORED)) return [];
  const text =
    `${percent(colored)} of the picture is colored (up to ${percent(MOST_COLORED)} passes), and a radiograph is gray; ` +
    "give the original, without a color map, an overlay or a tint";
  return [reason("color", "refuse", text, colored, MOST_COLORED)];
}

/** Return how few of the training images were of patients as young, or as old. */
function ofAge({ numbers }, age) {
  if (numbers === null || age === null) return [];
  const ages = numbers.ages.values;
  const sum = (from, to) => ages.subarray(from, to).reduce((total, count) => total + count, 0);
  const total = sum(0);
  const young = sum(0, Math.max(age, CHILD - 1) + 1);
  const old = sum(Math.min(age, ages.length - 1));
  let few;
  if (age < CHILD && young < FEW_CHILDREN * total) few = `${counted(young)} of ${counted(total)} were under ${CHILD}`;
  else if (old < FEW * total) few = `${counted(old)} of ${counted(total)} were ${age} or older`;
  else return [];
  const text =
    `the patient is ${age} years old, and of the images that the model learned from ${few}; the probabilities may not hold`;
  return [reason("age", "warn", text)];
}

/** Return what the file says of itself that does not fit a frontal chest radiograph. */
function ofHeader({ otherPart = "", statedChest = false, view = "" }) {
  const found = [];
  const part = otherPart.toLowerCase();
  if (part && statedChest) {
    const text = `the file states the chest, but a description in it names the ${part}; look at what it shows`;
    found.push(reason("body-part", "warn", text));
  } else if (part) {
    const text =
      `a description in the file names the ${part} and nothing names the chest; give a chest radiograph (or correct ` +
      "the header, if it is one)";
    found.push(reason("body-part", "refuse", text));
  }
  if (view === "LL") {
    found.push(reason("lateral", "warn", "this is a lateral view; the model was trained on frontal views only"));
  }
  return found;
}
