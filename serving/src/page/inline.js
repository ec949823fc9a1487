// What stands within a line of Markdown: code, emphasis by CommonMark's rule of delimiter runs, strikethrough, links, line breaks.
// A part is a text or an object of `kind` break, code (text), em, strong, del (parts) or link (href, parts).

/** Emphasis within emphasis; deeper marks are text. */
const DEEPEST = 20;
const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}|\p{S}/u;
const ESCAPABLE = /[!-/:-@[-`{-~]/;
const BARE_LINK = /https?:\/\/[^\s<>"`]{1,2048}/y;
const ANGLE_LINK = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2048})>/y;
const TITLE = /"[^"]{0,512}"|'[^']{0,512}'|\([^()]{0,512}\)/y;
/** Longest address of a link: what looks for its end looks no further. */
const LONGEST_ADDRESS = 2048;

/** Addresses that a click may open; `javascript:` and its like are text. */
const isSafe = (href) => /^(?:https?:\/\/|mailto:)/i.test(href);

function match(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

/** Where runs of backticks begin, by length: each run is looked at once. */
function backtickRuns(text) {
  const runs = new Map();
  for (const run of text.matchAll(/`+/g)) {
    if (!runs.has(run[0].length)) runs.set(run[0].length, []);
    runs.get(run[0].length).push(run.index);
  }
  for (const starts of runs.values()) starts.reverse();
  return runs;
}

/** The run of the same length behind `at`. */
function closingRun(runs, length, at) {
  const starts = runs.get(length) ?? [];
  while (starts.length && starts.at(-1) <= at) starts.pop();
  return starts.at(-1);
}

function codePart(text) {
  const flat = text.replaceAll("\n", " ");
  const isPadded = flat.startsWith(" ") && flat.endsWith(" ") && flat.trim() !== "";
  return { kind: "code", text: isPadded ? flat.slice(1, -1) : flat };
}

/** A run of `*`, `_` or `~`, and whether it may begin or end emphasis. */
function delimiterAt(text, at) {
  const mark = text[at];
  let end = at;
  while (text[end] === mark) end += 1;
  const before = at === 0 ? " " : String.fromCodePoint(text.codePointAt(at - (/[\uDC00-\uDFFF]/.test(text[at - 1]) && at > 1 ? 2 : 1)));
  const after = end >= text.length ? " " : String.fromCodePoint(text.codePointAt(end));
  const [spaceBefore, spaceAfter] = [/\s/u.test(before), /\s/u.test(after)];
  const [pointBefore, pointAfter] = [PUNCTUATION.test(before), PUNCTUATION.test(after)];
  const isLeft = !spaceAfter && (!pointAfter || spaceBefore || pointBefore);
  const isRight = !spaceBefore && (!pointBefore || spaceAfter || pointAfter);
  const opens = mark === "_" ? isLeft && (!isRight || pointBefore) : isLeft;
  const closes = mark === "_" ? isRight && (!isLeft || pointAfter) : isRight;
  return { kind: "mark", mark, count: end - at, whole: end - at, opens, closes };
}

/** `(address "title")` behind a link's text; the title is not shown. */
function targetAt(text, at) {
  if (text[at] !== "(") return null;
  const begin = skipSpace(text, at + 1);
  const last = begin + LONGEST_ADDRESS;
  let next = begin, open = 0;
  if (text[begin] === "<") {
    while (next < last && !">\n".includes(text[next] ?? "\n")) next += 1;
    if (text[next] !== ">") return null;
    next += 1;
  } else {
    for (; next < last && !/\s/.test(text[next] ?? " "); next += 1) {
      if (text[next] === "\\" && ESCAPABLE.test(text[next + 1] ?? "")) next += 1;
      else if (text[next] === "(") open += 1;
      else if (text[next] === ")" && open-- === 0) break;
    }
  }
  const address = text[begin] === "<" ? text.slice(begin + 1, next - 1) : text.slice(begin, next);
  const gap = skipSpace(text, next);
  const title = gap > next ? match(TITLE, text, gap) : null;
  const end = skipSpace(text, gap + (title?.[0].length ?? 0));
  return text[end] === ")" ? { href: address.replace(/\\([!-/:-@[-`{-~])/g, "$1"), end: end + 1 } : null;
}

function skipSpace(text, at) {
  let next = at;
  while (text[next] === " " || text[next] === "\n") next += 1;
  return next;
}

/** A bare address ends before the point of its sentence and before a bracket that it did not open. */
function bareLink(found) {
  let href = found;
  for (;;) {
    const last = href.at(-1);
    const isUnopened = last === ")" && href.split(")").length > href.split("(").length;
    if (!isUnopened && !/[.,:;!?'"*_~]/.test(last)) return href;
    href = href.slice(0, -1);
  }
}

const withoutLinks = (parts) => parts.flatMap((part) => (part.kind === "link" ? part.parts : [part]));

/** Reads the text of a paragraph, a heading or a cell. */
export function readInline(text) {
  const tokens = [], brackets = [], runs = backtickRuns(text);
  const say = (more) => {
    if (typeof tokens.at(-1) === "string" && brackets.at(-1)?.at !== tokens.length - 1) tokens[tokens.length - 1] += more;
    else tokens.push(more);
  };
  const readers = {
    "\\": (at) => {
      if (text[at + 1] === "\n") { tokens.push({ kind: "break" }); return at + 2; }
      if (!ESCAPABLE.test(text[at + 1] ?? "")) return null;
      say(text[at + 1]);
      return at + 2;
    },
    "\n": (at) => {
      if (typeof tokens.at(-1) === "string") tokens[tokens.length - 1] = tokens.at(-1).trimEnd();
      tokens.push({ kind: "break" });
      return at + 1;
    },
    "`": (at) => {
      let end = at;
      while (text[end] === "`") end += 1;
      const closing = closingRun(runs, end - at, at);
      if (closing === undefined) { say(text.slice(at, end)); return end; }
      tokens.push(codePart(text.slice(end, closing)));
      return closing + end - at;
    },
    "*": (at) => { const run = delimiterAt(text, at); tokens.push(run); return at + run.count; },
    "!": (at) => (text[at + 1] === "[" ? readers["["](at, 2) : null),
    "[": (at, length = 1) => { brackets.push({ at: tokens.length, isLive: true }); tokens.push(text.slice(at, at + length)); return at + length; },
    "]": (at) => {
      const bracket = brackets.pop();
      const target = bracket?.isLive ? targetAt(text, at + 1) : null;
      if (!target || !isSafe(target.href)) return null;
      const inside = tokens.splice(bracket.at).slice(1);
      tokens.push({ kind: "link", href: target.href, parts: withoutLinks(emphasize(inside)) });
      brackets.forEach((outer) => { outer.isLive = false; }); // no link in a link
      return target.end;
    },
    "<": (at) => {
      const link = match(ANGLE_LINK, text, at);
      if (!link) return null;
      tokens.push({ kind: "link", href: link[1], parts: [link[1].replace(/^mailto:/, "")] });
      return at + link[0].length;
    },
    "h": (at) => {
      const link = /[\p{L}\p{N}]/u.test(text[at - 1] ?? " ") ? null : match(BARE_LINK, text, at);
      if (!link) return null;
      const href = bareLink(link[0]);
      if (!/^https?:\/\/./.test(href)) return null;
      tokens.push({ kind: "link", href, parts: [href] });
      return at + href.length;
    },
  };
  readers._ = readers["~"] = readers["*"];
  for (let at = 0; at < text.length;) {
    const next = readers[text[at]]?.(at) ?? null;
    if (next === null) { say(text[at]); at += 1; } else at = next;
  }
  return emphasize(tokens);
}

const depthOf = (parts) => parts.reduce((deepest, part) => Math.max(deepest, part.depth ?? 0), 0);

/** Turns pairs of delimiter runs into emphasis, closing ones from left to right, each with the nearest that fits. */
function emphasize(tokens) {
  const parts = [], open = [], floors = new Map();
  for (const token of tokens) {
    if (token.kind !== "mark") { parts.push(token); continue; }
    const run = { ...token };
    while (run.closes && run.count > 0) {
      const kind = `${run.mark}${run.opens}${run.whole % 3}`;
      const at = openerOf(open, run, floors.get(kind) ?? 0);
      if (at < 0) { floors.set(kind, open.length); break; }
      const opener = open[at];
      const depth = depthOf(parts.slice(opener.at + 1)) + 1;
      if (depth > DEEPEST) { floors.set(kind, open.length); break; }
      const inside = parts.splice(opener.at + 1).map(plain);
      const used = run.mark === "~" || (run.count > 1 && opener.run.count > 1) ? 2 : 1;
      open.length = opener.run.count > used ? at + 1 : at;
      for (const [key, floor] of floors) floors.set(key, Math.min(floor, open.length));
      opener.run.count -= used;
      run.count -= used;
      if (opener.run.count === 0) parts.length = opener.at;
      const tag = run.mark === "~" ? "del" : used === 2 ? "strong" : "em";
      parts.push({ kind: tag, parts: inside, depth });
    }
    if (run.count > 0) {
      if (run.opens) open.push({ at: parts.length, run });
      parts.push(run);
    }
  }
  return parts.map(plain);
}

/** The place in `open` of the run that a closing one belongs to; none is -1. */
function openerOf(open, run, floor) {
  for (let at = open.length - 1; at >= floor; at -= 1) {
    const other = open[at].run;
    if (other.mark !== run.mark) continue;
    if (run.mark === "~") { if (other.count === 2 && run.count === 2) return at; continue; }
    const isOdd = (other.closes || run.opens) && (other.whole + run.whole) % 3 === 0 && (other.whole % 3 !== 0 || run.whole % 3 !== 0);
    if (!isOdd) return at;
  }
  return -1;
}

const plain = (part) => (part.kind === "mark" ? part.mark.repeat(part.count) : part);
