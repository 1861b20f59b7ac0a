// Downloads: findings as JSON or CSV, and the radiograph as shown as PNG. Each says where it comes from.

import { element } from "./dom.js";
import { findingOf, modelOf } from "./models.js";
import { prevalenceOf } from "./meaning.js";

const PURPOSE = "For research only, not for diagnosis or treatment. Display not calibrated.";
const LINE = 22; // pixels of a line of text under a picture
const COLUMNS = [
  "file", "image_sha256", "finding", "decision", "probability", "threshold", "undecided_low", "undecided_high",
  "prevalence_of_model", "prevalence_set", "model", "bundle_sha256", "thorax_version", "thresholds_from", "predicted_at",
];

/** Save the findings of cases as JSON; `words` returns what the reader said of a case. */
export function saveJson(cases, words) {
  const images = cases.map((one) => ({
    file: one.name,
    predicted_at: one.at,
    ...withoutPicture(one.answer),
    origin: originOf(one),
    prevalence_set: Object.fromEntries(rowsOf(one).map(({ finding, prevalence_set: set }) => [finding, set])),
    reader: words(one),
  }));
  save(JSON.stringify({ purpose: PURPOSE, images }, null, 2), "findings.json", "application/json");
}

/** Save the findings of cases as CSV, a row for each finding. */
export function saveCsv(cases) {
  const rows = cases.flatMap(rowsOf).map((row) => COLUMNS.map((column) => cell(row[column])).join(","));
  save([COLUMNS.join(","), ...rows, ""].join("\r\n"), "findings.csv", "text/csv");
}

/** Save a canvas as PNG, with lines of text below that say what it shows and where it comes from. */
export async function savePng(canvas, one, shown) {
  const lines = pngLines(one, shown);
  const width = Math.max(canvas.width, 640);
  const picture = element("canvas", { width, height: canvas.height });
  const context = picture.getContext("2d");
  const font = "15px system-ui, sans-serif";
  context.font = font;
  const wrapped = lines.flatMap((line) => wrap(context, line, width - 16));
  picture.height = canvas.height + LINE * wrapped.length + 12; // which clears it, and its font
  context.font = font;
  context.fillStyle = "#000";
  context.fillRect(0, 0, picture.width, picture.height);
  context.drawImage(canvas, Math.floor((width - canvas.width) / 2), 0);
  context.fillStyle = "#e7ecf1";
  wrapped.forEach((line, at) => context.fillText(line, 8, canvas.height + LINE * (at + 1)));
  const blob = await new Promise((resolve) => picture.toBlob(resolve, "image/png"));
  save(blob, `${one.name.replace(/\.[^.]*$/, "")}-thorax.png`, "image/png");
}

/** Return model, version, hash, date and source of the thresholds, as the page and every download have them. */
export function originOf(one) {
  const model = modelOf(one.answer);
  return {
    model: one.answer.model.name,
    bundle_sha256: one.answer.model.bundle_sha256,
    thorax_version: model?.version ?? "",
    thresholds_from: model?.thresholds_from ?? "",
    predicted_at: one.at,
    purpose: PURPOSE,
  };
}

/** Return the same in a sentence. */
export function originText(one) {
  const origin = originOf(one);
  const when = new Date(origin.predicted_at).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });
  return (
    `Model ${origin.model}, bundle ${origin.bundle_sha256.slice(0, 12)}, Thorax ${origin.thorax_version}, ${when}. ` +
    `Thresholds: ${origin.thresholds_from || "none"}.`
  );
}

function pngLines(one, shown) {
  const called = Object.entries(one.answer.findings).filter(([, finding]) => finding.decision === "yes");
  const names = called.map(([name]) => findingOf(one.answer, name).label);
  return [one.name, shown, `Called: ${names.join(", ") || "nothing"}.`, originText(one), PURPOSE].filter(Boolean);
}

function rowsOf(one) {
  const origin = originOf(one);
  return Object.entries(one.answer.findings).map(([name, predicted]) => {
    const finding = findingOf(one.answer, name);
    return {
      ...origin,
      file: one.name,
      image_sha256: one.answer.image?.sha256 ?? "",
      finding: name,
      decision: predicted.decision ?? "",
      probability: predicted.probability,
      threshold: predicted.threshold ?? "",
      undecided_low: predicted.undecided?.[0] ?? "",
      undecided_high: predicted.undecided?.[1] ?? "",
      prevalence_of_model: finding.prevalence?.value ?? "",
      prevalence_set: prevalenceOf(finding),
    };
  });
}

function withoutPicture(answer) {
  const { image: { picture: _, ...image } = {}, ...others } = answer;
  return { ...others, image };
}

/** Return a value as a cell that no spreadsheet runs. */
function cell(value) {
  const text = String(value);
  const safe = typeof value === "string" && /^[=@+\-\t\r]/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function wrap(context, text, width) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (context.measureText(longer).width <= width || lines.at(-1) === "") lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** Save a text or a blob as a file. */
export function save(content, name, type) {
  const link = element("a", { href: URL.createObjectURL(new Blob([content], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
