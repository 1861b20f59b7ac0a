// The Markdown of model cards as elements: headings, lists, tables, bold and code. Anything else is text.

import { element } from "./dom.js";

const HEADING = /^(#{1,3}) (.*)$/;
const RULER = /^\|(?: *:?-+:? *\|)+$/;
const PIECES = /\*\*(.+?)\*\*|`([^`]+)`|\\([\\|])|&(lt|gt);/g;

/** Return the elements of a text in Markdown; its headings begin below those of the page's dialogs. */
export function rendered(text) {
  const lines = text.split("\n");
  const nodes = [];
  for (let at = 0; at < lines.length; ) {
    const [node, next] = block(lines, at);
    if (node) nodes.push(node);
    at = next;
  }
  return nodes;
}

/** Return the element that begins at a line, or null for an empty one, and the line after it. */
function block(lines, at) {
  const heading = HEADING.exec(lines[at]);
  if (heading) return [element(`h${heading[1].length + 2}`, {}, ...inline(heading[2])), at + 1];
  if (lines[at].trim() === "") return [null, at + 1];
  if (RULER.test(lines[at + 1] ?? "")) {
    const end = endOf(lines, at, (line) => line.startsWith("|"));
    return [table(lines.slice(at, end).map(cells)), end];
  }
  if (isItem(lines[at])) {
    const end = endOf(lines, at, isItem);
    return [element("ul", {}, ...lines.slice(at, end).map((line) => element("li", {}, ...inline(line.slice(2))))), end];
  }
  const end = endOf(lines, at, (line) => line.trim() !== "" && !HEADING.test(line) && !isItem(line));
  return [element("p", {}, ...inline(lines.slice(at, end).join(" "))), end];
}

const isItem = (line) => line.startsWith("- ");

/** Return the first line from one on that is not of the same kind. */
function endOf(lines, at, belongs) {
  let end = at + 1;
  while (end < lines.length && belongs(lines[end])) end += 1;
  return end;
}

/** Return the cells of a row; `\|` does not end one. */
const cells = (line) => line.slice(1, line.lastIndexOf("|")).split(/(?<!\\)\|/).map((cell) => cell.trim());

function table([header, , ...rows]) {
  const row = (texts, tag) =>
    element("tr", {}, ...texts.map((text, at) => element(at === 0 ? "th" : tag, scopeOf(tag, at), ...inline(text))));
  const whole = element(
    "table",
    {},
    element("thead", {}, row(header, "th")),
    element("tbody", {}, ...rows.map((texts) => row(texts, "td")))
  );
  return element("div", { className: "scrolling", tabIndex: 0, role: "region", ariaLabel: `Table by ${header[0]}` }, whole);
}

const scopeOf = (tag, at) => (tag === "th" ? { scope: "col" } : at === 0 ? { scope: "row" } : {});

/** Return the pieces of a line: text, bold and code. */
function inline(text) {
  const pieces = [];
  let end = 0;
  for (const match of text.matchAll(PIECES)) {
    const [whole, bold, code, escaped, entity] = match;
    pieces.push(text.slice(end, match.index));
    if (bold) pieces.push(element("strong", {}, ...inline(bold)));
    else if (code) pieces.push(element("code", { textContent: code }));
    else pieces.push(escaped ?? { lt: "<", gt: ">" }[entity]);
    end = match.index + whole.length;
  }
  return [...pieces, text.slice(end)].filter((piece) => piece !== "");
}
