// The Markdown that models write, as the nodes that it becomes.

import assert from "node:assert/strict";

import { withPage } from "./browser.mjs";

const CODE_BAR = (language) => `<div class="bar"><span>${language || "code"}</span><button type="button" class="plain" data-copy="code">Copy</button></div>`;
const code = (language, text) =>
  `<div class="code">${CODE_BAR(language)}<pre tabindex="0" role="group" aria-label="Code${language ? `, ${language}` : ""}"><code>${text}</code></pre></div>`;
const link = (href, text = href) => `<a href="${href}" target="_blank" rel="noopener noreferrer nofollow">${text}</a>`;

const CASES = [
  ["one\ntwo\n\nthree", "<p>one<br>two</p><p>three</p>"],
  ["# A\n## B ##\n####### no", '<h3 class="level-1">A</h3><h4 class="level-2">B</h4><p>####### no</p>'],
  ["Title\n===\nSub\n---", '<h3 class="level-1">Title</h3><h4 class="level-2">Sub</h4>'],
  ["---\n***\n_ _ _", "<hr><hr><hr>"],
  ["*a* **b** ***c*** ~~d~~ _e_ __f__", "<p><em>a</em> <strong>b</strong> <em><strong>c</strong></em> <del>d</del> <em>e</em> <strong>f</strong></p>"],
  ["snake_case_name and 2 * 3 * 4 and a*b*c", "<p>snake_case_name and 2 * 3 * 4 and a<em>b</em>c</p>"],
  ["**a *b* c** and *x **y** z*", "<p><strong>a <em>b</em> c</strong> and <em>x <strong>y</strong> z</em></p>"],
  ["*foo**bar**baz* ***foo** bar*", "<p><em>foo<strong>bar</strong>baz</em> <em><strong>foo</strong> bar</em></p>"],
  ["**open and *half**", "<p>*<em>open and <em>half</em></em></p>"],
  ["`a*b*` ``c`d`` ` e ` `f", "<p><code>a*b*</code> <code>c`d</code> <code>e</code> `f</p>"],
  ["\\*no\\* \\` \\a", "<p>*no* ` \\a</p>"],
  ["```rust\nfn a() {}\n\n*x*\n```\nafter", `${code("rust", "fn a() {}\n\n*x*")}<p>after</p>`],
  ["~~~\n```\n~~~", code("", "```")],
  ["````md\n```\nin\n```\n````", code("md", "```\nin\n```")],
  ["```py\nprint(1)", code("py", "print(1)")],
  ["text\n```\ncode\n```", `<p>text</p>${code("", "code")}`],
  ["    a\n      b\n\nc", `${code("", "a\n  b")}<p>c</p>`],
  ["- a\n- b\n  - c\n  - d\n- e", "<ul><li>a</li><li>b<ul><li>c</li><li>d</li></ul></li><li>e</li></ul>"],
  ["3. a\n4. b\n\n5) c", '<ol start="3"><li>a</li><li>b</li></ol><ol start="5"><li>c</li></ol>'],
  ["- a\n\n- b", "<ul><li><p>a</p></li><li><p>b</p></li></ul>"],
  ["1. a\n\n   ```js\n   x\n   ```\n2. b", `<ol><li><p>a</p>${code("js", "x")}</li><li><p>b</p></li></ol>`],
  ["In 1990\n2. stays", "<p>In 1990<br>2. stays</p>"],
  ["* a\n+ b", "<ul><li>a</li></ul><ul><li>b</li></ul>"],
  ["> a\n> > b\nlazy\n\nout", "<blockquote><p>a</p><blockquote><p>b<br>lazy</p></blockquote></blockquote><p>out</p>"],
  ["| a | b |\n|:-:|--:|\n| 1 | `x` |\n| 2 \\| 3 |",
    '<div class="wide" tabindex="0" role="group" aria-label="Table"><table><thead><tr><th class="center">a</th><th class="right">b</th></tr></thead>'
    + '<tbody><tr><td class="center">1</td><td class="right"><code>x</code></td></tr><tr><td class="center">2 | 3</td><td class="right"></td></tr></tbody></table></div>'],
  ["a | b\nno table", "<p>a | b<br>no table</p>"],
  ["[a](https://x.example/b_(c) \"t\") ![pic](https://x.example/p.png)", `<p>${link("https://x.example/b_(c)", "a")} ${link("https://x.example/p.png", "pic")}</p>`],
  ["<https://x.example> (https://y.example/z). no", `<p>${link("https://x.example")} (${link("https://y.example/z")}). no</p>`],
  ["[a [b](https://i.example) c](https://o.example)", `<p>[a ${link("https://i.example", "b")} c](${link("https://o.example")})</p>`],
  ["[x](javascript:alert(1)) [y](data:text/html,1) [z](//h) [r][1]", "<p>[x](javascript:alert(1)) [y](data:text/html,1) [z](//h) [r][1]</p>"],
  ["<b>no</b> <script>1</script> &amp; &lt;", "<p>&lt;b&gt;no&lt;/b&gt; &lt;script&gt;1&lt;/script&gt; &amp;amp; &amp;lt;</p>"],
  ["", ""],
  ["日本**語**です。 **強調「引用」**", "<p>日本<strong>語</strong>です。 <strong>強調「引用」</strong></p>"],
];

/** Texts that would take long where a reader looks at anything twice. */
const BOMBS = {
  stars: "*a **".repeat(20_000), underscores: "_".repeat(50_000), brackets: "[".repeat(50_000), "links that never close": "[a](b".repeat(10_000), quotes: ">".repeat(20_000),
  lists: Array.from({ length: 400 }, (_, depth) => `${"  ".repeat(depth)}- x`).join("\n"), backticks: Array.from({ length: 300 }, (_, length) => "`".repeat(length)).join(" "),
  fences: "```\n".repeat(20_000), bars: "|".repeat(50_000), "bare links": "https://)".repeat(10_000), spaces: `#${" ".repeat(50_000)}x`, titles: "[a](b \"".repeat(10_000),
};

export const markdownChecks = {
  "Markdown becomes the nodes that it should": (house) => withPage(house, "/", {}, async (page) => {
    const shown = await page.evaluate(async (texts) => {
      const { MarkdownView } = await import("/page/markdown.js");
      return texts.map((text) => {
        const element = document.createElement("div");
        new MarkdownView(element).show(text);
        return element.innerHTML;
      });
    }, CASES.map(([text]) => text));
    CASES.forEach(([text, expected], place) => assert.equal(shown[place], expected, JSON.stringify(text)));
    return `${CASES.length} texts`;
  }),

  "a text that grows letter by letter ends as the whole one": (house) => withPage(house, "/", {}, async (page) => {
    const text = CASES.map(([one]) => one).join("\n\n");
    const [grown, whole] = await page.evaluate(async (all) => {
      const { MarkdownView } = await import("/page/markdown.js");
      const elements = [document.createElement("div"), document.createElement("div")];
      const views = elements.map((element) => new MarkdownView(element));
      for (let end = 1; end <= all.length; end += 1) views[0].show(all.slice(0, end));
      views[1].show(all);
      return elements.map((element) => element.innerHTML);
    }, text);
    assert.equal(grown, whole);
    return `${text.length} letters`;
  }),

  "no text takes long": (house) => withPage(house, "/", {}, async (page) => {
    const millis = await page.evaluate(async (bombs) => {
      const { readMarkdown } = await import("/page/markdown.js");
      const { readInline } = await import("/page/inline.js");
      const inside = (block) => [block.text ?? "", ...(block.blocks ?? block.items?.flat() ?? []).flatMap(inside)];
      return Object.entries(bombs).map(([name, text]) => {
        const started = performance.now();
        readMarkdown(text).flatMap(inside).forEach(readInline);
        return [name, Math.round(performance.now() - started)];
      });
    }, BOMBS);
    for (const [name, taken] of millis) assert.ok(taken < 1500, `${name}: ${taken} ms`);
    return millis.map(([name, taken]) => `${name} ${taken} ms`).join(", ");
  }),
};
