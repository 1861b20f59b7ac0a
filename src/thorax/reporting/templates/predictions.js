"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const [NUMBER, NAME, VIEW, STUDY, PROBABILITIES, DECISIONS, WARNINGS, MAPS, IDS] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
const STEP = 60;
const ANSWERS = { y: "yes", n: "no", u: "not decided", "-": "no threshold" };
const control = Object.fromEntries(["search", "sort", "show", "maps"].map((id) => [id, document.getElementById(id)]));
const grid = document.getElementById("grid");
const more = document.getElementById("more");
const shown = document.getElementById("shown");
const dialog = document.getElementById("one");
let groups = [];
let drawn = 0;

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function percent(probability) {
  return (100 * probability).toFixed(1) + " %";
}

function choose(select, options) {
  for (const [label, entries] of options) {
    if (entries.length === 0) continue;
    const group = make("optgroup");
    group.label = label;
    for (const [value, text] of entries) {
      const option = make("option", "", text);
      option.value = value;
      group.append(option);
    }
    select.append(group);
  }
}

function positives(image) {
  const order = [...image[PROBABILITIES].keys()].sort((a, b) => image[PROBABILITIES][b] - image[PROBABILITIES][a]);
  const marked = (mark) => order.filter((column) => image[DECISIONS][column] === mark);
  return { order, yes: marked("y"), undecided: marked("u") };
}

function source(image, column) {
  const name = String(image[NUMBER]).padStart(6, "0");
  return column === null ? "thumbnails/" + name + ".jpg" : "overlays/" + name + "-" + data.findings[column].file + ".jpg";
}

/* The column whose map a picture shows: that of the finding that sorts, or of the most probable one. */
function mapped(image, sorted) {
  if (!control.maps.checked) return null;
  if (sorted !== null) return sorted in image[MAPS] ? sorted : null;
  const { order, yes } = positives(image);
  return [...yes, ...order].find((column) => column in image[MAPS]) ?? null;
}

function picture(image, column) {
  const img = make("img");
  img.loading = "lazy";
  img.decoding = "async";
  img.src = source(image, column);
  img.alt = image[NAME] + (column === null ? "" : ", map of " + data.findings[column].label);
  return img;
}

function line(image, column) {
  const finding = data.findings[column];
  const row = make("div", image[DECISIONS][column] === "y" ? "finding yes" : "finding");
  const label = make("span", "label", finding.label);
  if (image[DECISIONS][column] === "u") label.append(" ", make("small", "", "not decided"));
  row.append(label, make("b", "", percent(image[PROBABILITIES][column])));
  const bar = make("span", "track");
  const fill = make("i");
  fill.style.width = 100 * image[PROBABILITIES][column] + "%";
  bar.append(fill);
  if (finding.threshold !== null) {
    const mark = make("u");
    mark.style.left = 100 * finding.threshold + "%";
    bar.append(mark);
  }
  row.append(bar);
  return row;
}

function card(image, sorted) {
  const box = make("article", "image");
  const column = mapped(image, sorted);
  const open = make("button", "picture");
  open.type = "button";
  open.append(picture(image, column));
  open.addEventListener("click", () => detail(image, column));
  if (column !== null) open.append(make("span", "what", data.findings[column].label));
  box.append(open);
  const name = make("p", "name", image[NAME]);
  name.title = image[NAME];
  if (image[VIEW]) name.append(" ", make("small", "", image[VIEW]));
  box.append(name);
  const { order, yes, undecided } = positives(image);
  const first = sorted === null ? [] : [sorted];
  const listed = [...first, ...yes.filter((other) => other !== sorted), ...undecided.filter((other) => other !== sorted)];
  for (const other of listed.slice(0, 3)) box.append(line(image, other));
  if (listed.length > 3) box.append(make("p", "quiet", "and " + (listed.length - 3) + " more"));
  if (yes.length === 0 && undecided.length === 0) {
    box.append(make("p", "quiet", "none positive"));
    if (sorted === null) box.append(line(image, order[0]));
  }
  for (const warning of image[WARNINGS]) box.append(make("p", "warn", data.warnings[warning]));
  return box;
}

function detail(image, column) {
  const first = column === null || column === undefined ? null : column;
  const body = make("div", "body");
  const figure = make("figure");
  const caption = make("figcaption", "quiet");
  const big = picture(image, first);
  const show = (other) => {
    big.src = source(image, other);
    const known = other === null ? null : image[MAPS][other];
    caption.textContent = other === null ? "The radiograph, reduced" : data.findings[other].label + ": exact class activation map, "
      + (known[0] === 0 ? "colors from 0 to " + known[1] : "no location supports it; colors from the map's mean, " + known[0] + ", to " + known[1]);
  };
  big.loading = "eager";
  figure.append(big, caption);
  const table = make("table");
  const head = make("tr");
  for (const text of ["Finding", "Probability", "Threshold", "Decision", "Map"]) head.append(make("th", "", text));
  table.append(head);
  for (const other of positives(image).order) {
    const finding = data.findings[other];
    const row = make("tr", image[DECISIONS][other] === "y" ? "yes" : "");
    const cells = [percent(image[PROBABILITIES][other]), finding.threshold === null ? "n/a" : percent(finding.threshold), ANSWERS[image[DECISIONS][other]]];
    row.append(make("th", "", finding.label), ...cells.map((text) => make("td", "", text)));
    const cell = make("td");
    if (other in image[MAPS]) {
      const button = make("button", "", "show");
      button.type = "button";
      button.addEventListener("click", () => show(other));
      cell.append(button);
    }
    row.append(cell);
    table.append(row);
  }
  const plain = make("button", "", "Radiograph without map");
  plain.type = "button";
  plain.addEventListener("click", () => show(null));
  const close = make("button", "", "Close");
  close.type = "button";
  close.addEventListener("click", () => dialog.close());
  const buttons = make("p", "buttons");
  buttons.append(plain, close);
  const words = make("div", "words");
  words.append(make("h2", "", image[NAME]));
  for (const [index, value] of image[IDS].entries()) if (value) words.append(make("p", "quiet", data.ids[index] + " " + value));
  for (const warning of image[WARNINGS]) words.append(make("p", "warn", data.warnings[warning]));
  words.append(table, buttons);
  body.append(figure, words);
  dialog.replaceChildren(body);
  show(first);
  dialog.showModal();
}

function fits(image) {
  const wanted = control.search.value.trim().toLowerCase();
  const text = [image[NAME], ...image[IDS]].join("\n").toLowerCase();
  if (wanted && !text.includes(wanted)) return false;
  const [kind, value] = control.show.value.split(":");
  if (kind === "warned") return image[WARNINGS].length > 0;
  if (kind === "warning") return image[WARNINGS].includes(Number(value));
  if (kind === "yes") return image[DECISIONS][Number(value)] === "y";
  if (kind === "undecided") return image[DECISIONS].includes("u");
  if (kind === "none") return !image[DECISIONS].includes("y");
  return true;
}

function group(entry, sorted) {
  const box = make("section", entry.study ? "study" : "single");
  if (entry.study) {
    const first = entry.images[0];
    const ids = data.ids.slice(0, 4).map((name, index) => [name, first[IDS][index]]).filter(([, value]) => value);
    const title = make("h2", "", "Study " + entry.study + ": " + entry.images.length + (entry.images.length === 1 ? " image" : " images"));
    if (ids.length) title.append(make("small", "", ids.map(([name, value]) => name + " " + value).join(", ")));
    box.append(title);
  }
  const cards = make("div", "cards");
  cards.append(...entry.images.map((image) => card(image, sorted)));
  box.append(cards);
  return box;
}

function sortedColumn() {
  const [kind, value] = control.sort.value.split(":");
  return kind === "finding" ? Number(value) : null;
}

function draw() {
  const sorted = sortedColumn();
  grid.append(...groups.slice(drawn, drawn + STEP).map((entry) => group(entry, sorted)));
  drawn = Math.min(drawn + STEP, groups.length);
  more.hidden = drawn >= groups.length;
}

function update() {
  const sorted = sortedColumn();
  const studies = new Map();
  groups = [];
  let count = 0;
  for (const image of data.images) {
    if (!fits(image)) continue;
    count += 1;
    const study = image[STUDY] || 0;
    if (study && studies.has(study)) {
      studies.get(study).images.push(image);
      continue;
    }
    const entry = { study, images: [image], at: groups.length };
    if (study) studies.set(study, entry);
    groups.push(entry);
  }
  const key = (image) => (sorted === null ? image[WARNINGS].length : image[PROBABILITIES][sorted]);
  if (control.sort.value !== "file") {
    for (const entry of groups) {
      entry.images.sort((a, b) => key(b) - key(a));
      entry.key = key(entry.images[0]);
    }
    groups.sort((a, b) => b.key - a.key || a.at - b.at);
  }
  shown.textContent = count.toLocaleString("en-US") + " of " + data.images.length.toLocaleString("en-US") + " images";
  grid.replaceChildren();
  drawn = 0;
  draw();
}

const columns = [...data.findings.entries()];
choose(control.sort, [
  ["Order", [["file", "Order of the files"], ["warnings", "Warnings first"]]],
  ["Most probable first", columns.map(([column, finding]) => ["finding:" + column, finding.label])],
]);
choose(control.show, [
  ["Images", [["all", "All images"], ["none", "Without a positive finding"], ["undecided", "With a finding not decided"], ["warned", "With a warning"]]],
  ["With the warning", data.warnings.map((text, index) => ["warning:" + index, text])],
  ["Positive", columns.map(([column, finding]) => ["yes:" + column, finding.label])],
]);
control.maps.checked = data.images.some((image) => Object.keys(image[MAPS]).length > 0);
control.maps.closest("label").hidden = !control.maps.checked;
for (const element of Object.values(control)) element.addEventListener("input", update);
dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
more.addEventListener("click", draw);
new IntersectionObserver((entries) => { if (entries.some((entry) => entry.isIntersecting) && !more.hidden) draw(); }, { rootMargin: "800px" }).observe(more);
update();
