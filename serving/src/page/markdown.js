// Markdown as models write it, read into plain objects and built as DOM nodes: no text of a model ever becomes markup.
//
// CommonMark's paragraphs, headings, lists, quotes, rules, code and emphasis, and GitHub's tables, strikethrough and bare links. Deviations:
// HTML is text, a line break stays one, an image is a link to it (nothing is fetched), reference links and entities are text.

import { readInline } from "./inline.js";
import { make } from "./make.js";

/** Quotes and lists inside one another; deeper ones are text. */
const DEEPEST = 12;

const FENCE = /^( {0,3})(`{3,}|~{3,})[ \t]*([^`\n]*)$/;
const ITEM = /^( {0,3})([-+*]|\d{1,9}[.)])(?=[ \t]|$)/;
const QUOTE = /^ {0,3}> ?/;

const isBlank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;

function isRule(line) {
  const marks = line.replace(/[ \t]/g, "");
  return indentOf(line) < 4 && marks.length > 2 && "-*_".includes(marks[0]) && [...marks].every((mark) => mark === marks[0]);
}

function headingOf(line) {
  const mark = /^ {0,3}(#{1,6})(?=[ \t]|$)/.exec(line);
  if (!mark) return null;
  const text = line.slice(mark[0].length).trim();
  let end = text.length;
  while (end > 0 && text[end - 1] === "#") end -= 1;
  const isClosed = end < text.length && (end === 0 || " \t".includes(text[end - 1]));
  return { kind: "heading", level: mark[1].length, text: isClosed ? text.slice(0, end).trim() : text };
}

/** The cells of a table's row; a bar behind a backslash is a character. */
function cellsOf(line) {
  const cells = [""];
  const row = line.trim();
  for (let at = 0; at < row.length; at += 1) {
    if (row[at] === "\\" && row[at + 1] === "|") { cells[cells.length - 1] += "|"; at += 1; }
    else if (row[at] === "|") cells.push("");
    else cells[cells.length - 1] += row[at];
  }
  if (row.startsWith("|")) cells.shift();
  if (row.endsWith("|") && !row.endsWith("\\|") && cells.length) cells.pop();
  return cells.map((cell) => cell.trim());
}

/** How the columns of a table lie, where the line is the one below a table's head. */
function columnsOf(line) {
  if (line === undefined || !line.includes("-") || !/^[ \t|:-]+$/.test(line)) return null;
  const cells = cellsOf(line);
  if (!cells.length || !cells.every((cell) => /^:?-+:?$/.test(cell))) return null;
  return cells.map((cell) => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : "left"));
}

function isTableAt(lines, at) {
  const columns = lines[at].includes("|") ? columnsOf(lines[at + 1]) : null;
  return columns !== null && cellsOf(lines[at]).length === columns.length;
}

/** Whether a line ends the paragraph before it. */
function interrupts(line) {
  if (FENCE.test(line) || headingOf(line) || isRule(line) || QUOTE.test(line)) return true;
  const item = ITEM.exec(line);
  return item !== null && !isBlank(line.slice(item[0].length)) && (item[2].length === 1 || parseInt(item[2], 10) === 1);
}

/** Reads lines from `at` on; each reader gives its block and the line behind it. */
function readFence(lines, at) {
  const [, indent, fence, info] = FENCE.exec(lines[at]);
  const closing = new RegExp(`^ {0,3}\\${fence[0]}{${fence.length},}[ \\t]*$`);
  const body = [];
  let next = at + 1;
  while (next < lines.length && !closing.test(lines[next])) {
    body.push(lines[next].slice(Math.min(indent.length, indentOf(lines[next]))));
    next += 1;
  }
  const language = info.trim().split(/\s/)[0];
  return [{ kind: "code", language, text: body.join("\n"), isOpen: next === lines.length }, Math.min(next + 1, lines.length)];
}

function readIndented(lines, at) {
  let next = at;
  while (next < lines.length && (isBlank(lines[next]) || indentOf(lines[next]) >= 4)) next += 1;
  while (isBlank(lines[next - 1])) next -= 1;
  return [{ kind: "code", language: "", text: lines.slice(at, next).map((line) => line.slice(4)).join("\n") }, next];
}

/** Whether a line without a mark goes on with the paragraph that a quote or an item ends in. */
function continues(line, body, depth) {
  if (isBlank(line) || isBlank(body.at(-1)) || interrupts(line) || ITEM.test(line)) return false;
  return lastWithin(readBlocks(body, depth + 1))?.kind === "paragraph";
}

function lastWithin(blocks) {
  let last = blocks.at(-1);
  while (last?.kind === "quote" || last?.kind === "list") last = (last.blocks ?? last.items.at(-1)).at(-1);
  return last;
}

/** Such a line is text, whatever it would be elsewhere: no block begins so far in, at any depth. */
const lazyLine = (line) => " ".repeat(200) + line.trimStart();

function readQuote(lines, at, depth) {
  const body = [];
  let next = at, isLazy = false;
  for (; next < lines.length; next += 1) {
    const line = lines[next];
    if (QUOTE.test(line)) { body.push(line.replace(QUOTE, "")); isLazy = false; }
    else if (isLazy ? isBlank(line) || interrupts(line) || ITEM.test(line) : !continues(line, body, depth)) break;
    else { body.push(lazyLine(line)); isLazy = true; }
  }
  return [{ kind: "quote", blocks: readBlocks(body, depth + 1) }, next];
}

function readList(lines, at, depth) {
  const first = ITEM.exec(lines[at])[2];
  const list = { kind: "list", start: first.length > 1 ? parseInt(first, 10) : null, isLoose: false, items: [] };
  const isSameKind = (mark) => mark.at(-1) === first.at(-1) && (mark.length > 1) === (first.length > 1);
  let next = at;
  while (next < lines.length) {
    const item = ITEM.exec(lines[next]);
    if (!item || !isSameKind(item[2]) || isRule(lines[next])) break;
    const rest = lines[next].slice(item[0].length);
    const gap = isBlank(rest) || indentOf(rest) > 4 ? 1 : indentOf(rest);
    const inside = item[0].length + gap;
    const body = [rest.slice(gap)];
    let isLazy = false;
    for (next += 1; next < lines.length; next += 1) {
      const line = lines[next];
      if (isBlank(line) && body.length === 1 && isBlank(body[0])) break;
      if (isBlank(line)) { body.push(""); isLazy = false; }
      else if (indentOf(line) >= inside) { body.push(line.slice(inside)); isLazy = false; }
      else if (isLazy ? !interrupts(line) && !ITEM.test(line) : continues(line, body, depth)) { body.push(lazyLine(line)); isLazy = true; }
      else break;
    }
    let blanks = 0;
    while (body.length > 1 && isBlank(body.at(-1))) { body.pop(); blanks += 1; }
    while (next < lines.length && isBlank(lines[next])) { next += 1; blanks += 1; }
    const following = next < lines.length ? ITEM.exec(lines[next]) : null;
    const blocks = readBlocks(body, depth + 1);
    const goesOn = following !== null && isSameKind(following[2]);
    const isApart = blanks > 0 && goesOn && !lastWithin(blocks)?.isOpen;
    list.isLoose ||= isApart || blocks.some((block, place) => place > 0 && block.isAfterBlank);
    list.items.push(blocks);
    if (!goesOn) { next -= blanks; break; }
  }
  return [list, next];
}

function readTable(lines, at) {
  const columns = columnsOf(lines[at + 1]);
  const rows = [];
  let next = at + 2;
  while (next < lines.length && !isBlank(lines[next]) && !interrupts(lines[next])) rows.push(cellsOf(lines[next++]));
  const even = rows.map((row) => columns.map((_, place) => row[place] ?? ""));
  return [{ kind: "table", columns, head: cellsOf(lines[at]), rows: even }, next];
}

function readParagraph(lines, at) {
  const text = () => lines.slice(at, next).map((line) => line.trimStart()).join("\n").trimEnd();
  let next = at + 1;
  while (next < lines.length && !isBlank(lines[next])) {
    const underline = /^ {0,3}(=+|-+)[ \t]*$/.exec(lines[next]);
    if (underline) {
      return [{ kind: "heading", level: underline[1][0] === "=" ? 1 : 2, text: text() }, next + 1];
    }
    if (interrupts(lines[next]) || isTableAt(lines, next)) break;
    next += 1;
  }
  return [{ kind: "paragraph", text: text() }, next];
}

function readBlock(lines, at, depth) {
  const line = lines[at];
  if (indentOf(line) >= 4) return readIndented(lines, at);
  if (FENCE.test(line)) return readFence(lines, at);
  const heading = headingOf(line);
  if (heading) return [heading, at + 1];
  if (isRule(line)) return [{ kind: "rule" }, at + 1];
  if (depth < DEEPEST && QUOTE.test(line)) return readQuote(lines, at, depth);
  if (depth < DEEPEST && ITEM.test(line)) return readList(lines, at, depth);
  return isTableAt(lines, at) ? readTable(lines, at) : readParagraph(lines, at);
}

function readBlocks(lines, depth) {
  const blocks = [];
  let isAfterBlank = false;
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) { isAfterBlank = true; at += 1; continue; }
    const [block, next] = readBlock(lines, at, depth);
    blocks.push({ ...block, isAfterBlank, source: lines.slice(at, next).join("\n") });
    isAfterBlank = isBlank(lines[next - 1]);
    at = next;
  }
  return blocks;
}

/** Reads a text into its blocks. A fence that is still open, as in a stream, is a block of code too. */
export function readMarkdown(text) {
  const untabbed = (line) => line.replace(/^[ \t]+/, (space) => space.replaceAll("\t", "    "));
  return readBlocks(text.replace(/\r\n?/g, "\n").split("\n").map(untabbed), 0);
}

// --- as nodes ----------------------------------------------------------------------------------------------------------------

function inlineNodes(text) {
  return readInline(text).map(inlineNode);
}

function inlineNode(part) {
  if (typeof part === "string") return document.createTextNode(part);
  if (part.kind === "break") return make("br");
  if (part.kind === "code") return make("code", {}, part.text);
  const children = part.parts.map(inlineNode);
  if (part.kind !== "link") return make(part.kind, {}, ...children); // em, strong, del
  return make("a", { href: part.href, target: "_blank", rel: "noopener noreferrer nofollow" }, ...children);
}

function codeNode({ language, text }) {
  const code = make("code", {}, text);
  const copy = make("button", { type: "button", class: "plain", "data-copy": "code" }, "Copy");
  const bar = make("div", { class: "bar" }, make("span", {}, language || "code"), copy);
  const scroller = make("pre", { tabindex: "0", role: "group", "aria-label": `Code${language ? `, ${language}` : ""}` }, code);
  return make("div", { class: "code" }, bar, scroller);
}

function tableNode({ columns, head, rows }) {
  const cell = (tag) => (text, place) => make(tag, { class: columns[place] }, ...inlineNodes(text));
  const headRow = make("tr", {}, ...head.map(cell("th")));
  const bodyRows = rows.map((row) => make("tr", {}, ...row.map(cell("td"))));
  const table = make("table", {}, make("thead", {}, headRow), make("tbody", {}, ...bodyRows));
  return make("div", { class: "wide", tabindex: "0", role: "group", "aria-label": "Table" }, table);
}

function listNode({ start, isLoose, items }) {
  const list = make(start === null ? "ul" : "ol", start !== null && start !== 1 ? { start } : {});
  for (const blocks of items) {
    const tight = (block) => (block.kind === "paragraph" && !isLoose ? inlineNodes(block.text) : [blockNode(block)]);
    list.append(make("li", {}, ...blocks.flatMap(tight)));
  }
  return list;
}

function blockNode(block) {
  switch (block.kind) {
    // The page's own headings are above those of an answer.
    case "heading": return make(`h${Math.min(block.level + 2, 6)}`, { class: `level-${block.level}` }, ...inlineNodes(block.text));
    case "rule": return make("hr");
    case "code": return codeNode(block);
    case "quote": return make("blockquote", {}, ...block.blocks.map(blockNode));
    case "list": return listNode(block);
    case "table": return tableNode(block);
    default: return make("p", {}, ...inlineNodes(block.text));
  }
}

/** An element that shows a text as Markdown, and only builds anew what changed as the text grows. */
export class MarkdownView {
  constructor(element) {
    this.element = element;
    this.blocks = [];
  }

  show(text) {
    const blocks = readMarkdown(text);
    let same = 0;
    while (same < blocks.length && this.blocks[same]?.source === blocks[same].source && this.blocks[same].kind === blocks[same].kind) same += 1;
    const before = this.blocks[same], after = blocks[same];
    if (before?.kind === "code" && after?.kind === "code" && before.language === after.language) {
      // Code that grows stays where it is, with its button and its place.
      this.element.children[same].querySelector("pre > code").textContent = after.text;
      same += 1;
    }
    while (this.element.children.length > same) this.element.lastElementChild.remove();
    this.element.append(...blocks.slice(same).map(blockNode));
    this.blocks = blocks;
  }
}
