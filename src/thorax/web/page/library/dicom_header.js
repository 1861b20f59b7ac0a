// DICOM headers: refuse images that are not chest radiographs, and read what a header says of one. The twin of
// thorax.imaging.dicom.header; the words are the library's own, in `rules`.

import { ImageError, UnsupportedImage } from "./errors.js";
import { counted } from "./grays.js";

const YEARS_PER_UNIT = { Y: 1, "": 1, M: 1 / 12, W: 7 / 365.25, D: 1 / 365.25 };
const OLDEST = 150;

/** Describe a value that is not repeated, since it may be anything that the file holds. */
export const lengthOf = (value) => `an unknown value of ${counted([...value].length)} characters`;

/** Return a value if it is one of a known set, and otherwise only how long it is. */
export function stated(value, known, absent = "not given") {
  if (!value) return absent;
  return known.includes(value) ? value : lengthOf(value);
}

/** Return the name that DICOM gives a UID, and of any other one only how long it is. */
export const uidName = (uid, { uid_names: names }) => names[uid] ?? stated(uid, []);

/** Return a text as a number; NaN if it is none. */
export function numberOf(text) {
  return /^[+-]?(\d+\.?\d*|\.\d+)(E[+-]?\d+)?$/.test(text.trim()) ? Number(text) : NaN;
}

/** Return the values of a decimal or integer string element, all of which must be finite. */
export function numbersOf(dataset, keyword) {
  const texts = dataset.texts(keyword);
  const numbers = texts.map(numberOf);
  if (numbers.every(Number.isFinite)) return numbers;
  throw new ImageError(
    `${keyword} is ${lengthOf(texts.join("\\"))} instead of a number, so the gray values are unknown; correct the ` +
      "header or export the image again"
  );
}

/** Refuse everything but a single projection radiograph of a chest, for presentation. */
export function refuseOtherImages(dataset, rules) {
  const sopClass = dataset.first("SOPClassUID") || dataset.sopClass;
  const modality = dataset.first("Modality");
  if (sopClass === rules.for_processing || dataset.first("PresentationIntentType") === "FOR PROCESSING") {
    throw new UnsupportedImage(
      "the image is FOR PROCESSING, raw detector values; give the FOR PRESENTATION image of the same series"
    );
  }
  const converted = rules.secondary_capture.includes(sopClass) || (!sopClass && Boolean(modality));
  const fits = rules.radiography.includes(sopClass) && ["", ...rules.radiographic_modalities].includes(modality);
  if (!fits && !(converted && rules.converted_modalities.includes(modality))) {
    throw new UnsupportedImage(
      `modality ${stated(modality, rules.modalities)}, SOP class ${uidName(sopClass, rules)}: not a projection ` +
        "radiograph; give a CR or DX image, or a secondary capture of one"
    );
  }
  const part = bodyPart(dataset, rules);
  const words = wordsOf(part);
  if (!words.every((word) => rules.says_nothing.includes(word)) && !namesChest(words, rules)) {
    throw new UnsupportedImage(
      `Body Part Examined is ${stated(part, rules.body_parts)}, not the chest; give a chest radiograph (or correct the ` +
        "header, if it is one)"
    );
  }
  const frames = dataset.first("NumberOfFrames");
  if (frames && ![0, 1].includes(numberOf(frames))) {
    const count = /^\d{1,5}$/.test(frames) ? frames : "an unknown number of";
    throw new UnsupportedImage(
      `the file holds ${count} frames; a radiograph is a single image, so export one frame`
    );
  }
}

/** Return Body Part Examined in upper case without accents, decoded with the character set of the file. */
function bodyPart(dataset, { charsets }) {
  const bytes = dataset.raw("BodyPartExamined") ?? new Uint8Array(0);
  const text = decoderOf(charsets[dataset.first("SpecificCharacterSet")] ?? "utf-8").decode(bytes);
  const plain = text.normalize("NFKD").replace(/\p{Mn}/gu, "");
  return plain.replace(/^[ \0\\]+|[ \0\\]+$/g, "").toUpperCase();
}

function decoderOf(label) {
  try {
    return new TextDecoder(label);
  } catch {
    return new TextDecoder("utf-8"); // a browser does not know every encoding
  }
}

const wordsOf = (text) => text.split(/[^\p{L}\p{N}]+/u).filter(Boolean);

function namesChest(words, rules) {
  const andView = new RegExp(`^(?:${rules.chest_and_view})$`);
  return words.some((word) => rules.chest.includes(word) || andView.test(word));
}

/** Return what a header says of a radiograph, and what in it cannot be followed. */
export function describedByHeader(dataset, rules) {
  const view = viewPosition(dataset, rules);
  const orientation = patientOrientation(dataset);
  return {
    view,
    orientation,
    laterality: laterality(dataset),
    age: ageInYears(dataset),
    otherPart: otherPart(dataset, rules),
    statedChest: namesChest(wordsOf(bodyPart(dataset, rules)), rules),
    doubts: orientationDoubt(orientation, view),
  };
}

/** Return the first part of the body that a description names, if none names the chest; "" otherwise. */
function otherPart(dataset, rules) {
  const words = rules.descriptions.flatMap((keyword) => dataset.texts(keyword)).flatMap(wordsOf);
  if (namesChest(words, rules)) return "";
  const word = words.find((one) => Object.hasOwn(rules.other_parts, one));
  return word ? rules.other_parts[word] : "";
}

/** Return the view from View Position, else from the view code, else lateral from the row direction. */
function viewPosition(dataset, rules) {
  const named = rules.views[dataset.first("ViewPosition")];
  if (named !== undefined) return named;
  const [code] = dataset.items("ViewCodeSequence");
  const coded = code && rules.view_codes[code.first("CodeValue")];
  if (coded !== undefined) return coded;
  return ["A", "P"].includes(dataset.first("PatientOrientation").slice(0, 1)) ? "LL" : "";
}

/** Return the patient's direction along rows and columns; null if it is not stated. */
function patientOrientation(dataset) {
  const towards = dataset.texts("PatientOrientation").map((text) => text.slice(0, 1));
  return towards.length === 2 && towards.every((letter) => letter && "LRAPHF".includes(letter)) ? towards : null;
}

/** Return what Patient Orientation says against the way that radiographs are shown; empty for most. */
function orientationDoubt(towards, view) {
  if (towards === null) return [];
  const [row, column] = towards;
  const lateral = view === "LL";
  if ((lateral ? ["A", "P"] : ["L"]).includes(row) && column === "F") return [];
  const usual = lateral ? "lateral view has A\\F or P\\F" : "frontal view has L\\F";
  return [
    `its Patient Orientation is ${row}\\${column}, where an upright ${usual}; it was read as stored, so it may be ` +
      "mirrored or turned",
  ];
}

function laterality(dataset) {
  const side = dataset.first("ImageLaterality") || dataset.first("Laterality");
  return ["L", "R", "B", "U"].includes(side) ? side : "";
}

/** Return the age in whole years, from "060Y", "011M", "006W", "002D" or a bare "62" (years). */
function ageInYears(dataset) {
  const match = /^(\d{1,3})([YMWD]?)$/.exec(dataset.first("PatientAge"));
  if (match === null) return null;
  const years = Math.trunc(Number(match[1]) * YEARS_PER_UNIT[match[2]] + 1e-9);
  return years <= OLDEST ? years : null;
}
