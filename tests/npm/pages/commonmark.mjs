// Random texts as our modules read them and as commonmark.js, the reference implementation, does.

import assert from "node:assert/strict";
import { HtmlRenderer, Parser } from "commonmark";

import { readInline } from "../../../serving/src/page/inline.js";
import { readMarkdown } from "../../../serving/src/page/markdown.js";

const TEXTS = 20_000;
const PIECES = {
  blocks: ["a", "b c", "\n", "\n", "\n\n", "- ", "1. ", "2. ", "> ", "  ", "    ", "* ", "# ", "```", "```\n", "---", "===", "*x*", "   ", "+ ", "10) ", "~~~\n"],
  "within a line": ["*", "*", "**", "_", "__", "***", "a", "b", " ", "a b", "`", "``", "\\", "é", ".", ")", "[", "]", "[x](mailto:e)", "?", "“", "語"],
};

const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");

function inline(part) {
  if (typeof part === "string") return escaped(part);
  if (part.kind === "break") return "<br>";
  if (part.kind === "code") return `<code>${escaped(part.text)}</code>`;
  const inside = part.parts.map(inline).join("");
  return part.kind === "link" ? `<a href="${escaped(part.href)}">${inside}</a>` : `<${part.kind}>${inside}</${part.kind}>`;
}

const line = (text) => readInline(text).map(inline).join("");
const all = (blocks, isTight) => blocks.map((one) => block(one, isTight)).join("");

function block(one, isTight) {
  switch (one.kind) {
    case "heading": return `<h${one.level}>${line(one.text)}</h${one.level}>`;
    case "rule": return "<hr>";
    case "code": return `<pre><code${one.language ? ` class="language-${escaped(one.language)}"` : ""}>${escaped(one.text).replace(/\n+$/, "")}</code></pre>`;
    case "quote": return `<blockquote>${all(one.blocks)}</blockquote>`;
    case "list": {
      const tag = one.start === null ? "ul" : "ol";
      const start = one.start === null || one.start === 1 ? "" : ` start="${one.start}"`;
      return `<${tag}${start}>${one.items.map((item) => `<li>${all(item, !one.isLoose)}</li>`).join("")}</${tag}>`;
    }
    default: return isTight ? line(one.text) : `<p>${line(one.text)}</p>`;
  }
}

/** The reference's HTML, with line breaks kept as we keep them and without the ones between elements. */
function reference(text) {
  const html = new HtmlRenderer({ softbreak: "<br>" }).render(new Parser().parse(text));
  return html.replace(/<(br|hr) \/>/g, "<$1>").replace(/\n+<\/code>/g, "</code>").replace(/>\n+</g, "><").replace(/<br>\n/g, "<br>")
    .replace(/(<li>|<\/(?:p|ul|ol|pre|blockquote|h\d)>|<hr>)\n/g, "$1").replace(/\n(<(?:ul|ol|pre|blockquote|hr|h\d|p)\b|<\/li>)/g, "$1").trim();
}

/** Mulberry32: the same texts on every machine. */
function* numbers(seed) {
  for (let state = seed; ; ) {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    yield ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
}

export const commonmarkChecks = {
  "random texts are read as the reference implementation reads them": () => {
    for (const [kind, pieces] of Object.entries(PIECES)) {
      const random = numbers(5);
      const below = (bound) => Math.floor(random.next().value * bound);
      for (let count = 0; count < TEXTS; count += 1) {
        const joined = Array.from({ length: 2 + below(13) }, () => pieces[below(pieces.length)]).join("");
        const text = kind === "blocks" ? joined : `x ${joined.trim()}`;
        assert.equal(all(readMarkdown(text)), reference(text), JSON.stringify(text));
      }
    }
    return `${TEXTS} texts of blocks, ${TEXTS} of what stands within a line`;
  },
};
