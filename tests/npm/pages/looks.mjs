// How the pages look and whether everybody can use them: axe-core over every state of both, in light and dark, at both widths.

import assert from "node:assert/strict";
import { mkdir, readFile, stat } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { answerWith, say, withPage } from "./browser.mjs";

const AXE = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const EXAMPLE = fileURLToPath(new URL("./example.json", import.meta.url));
const example = JSON.parse(await readFile(EXAMPLE, "utf8"));
const WIDTHS = [[1280, 800], [390, 844]];
const VIEWS = ["light", "dark"].flatMap((colorScheme) => WIDTHS.map(([width, height]) => ({ colorScheme, viewport: { width, height } })));

const importExample = async (page) => {
  await page.setInputFiles("#import-file", EXAMPLE);
  await page.waitForSelector(".turn.assistant");
};
const openDrawer = (name) => async (page) => { await page.click(`#open-${name}`); };

/** The states that are looked at: path, name, and the way there. */
const STATES = [
  ["/", "empty", async () => {}],
  ["/", "conversation", importExample],
  ["/", "edit", async (page) => { await importExample(page); await page.locator("[data-tool=edit]").last().click(); }],
  ["/", "versions", async (page) => { await importExample(page); await answerWith(page, ["Another *answer*."]); await page.locator("[data-tool=again]").last().click(); await page.locator(".versions").waitFor(); }],
  ["/", "settings", openDrawer("settings")],
  ["/", "conversations", async (page) => { await importExample(page); if (page.viewportSize().width < 861) await page.click("#open-chats"); }],
  ["/", "error", async (page) => {
    await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 429, headers: { "retry-after-ms": "42000" }, json: { error: { message: "Rate limit reached: the server's queue is full.", code: "queue_full" } } }));
    await say(page, "Hello");
    await page.locator("#problem .wait").waitFor();
  }],
  ["/", "model", async (page) => { if (page.viewportSize().width < 861) await page.click("#open-chats"); await page.click("#about"); }],
  ["/", "key", async (page) => {
    await page.route("**/v1/models", (route) => route.fulfill({ status: 401, json: { error: { message: "Incorrect API key provided.", code: "invalid_api_key" } } }));
    await page.reload();
    await page.locator("#key-dialog").waitFor();
  }],
  ["/compare", "compare, empty", async () => {}],
  ["/compare", "compare, settings", async (page) => { for (const summary of await page.locator("summary").all()) await summary.click(); }],
  ["/compare", "compare, chosen", async (page) => {
    await answerWith(page, [example.messages[1].content]);
    await page.fill("#prompt", example.messages[0].content);
    await page.press("#prompt", "Enter");
    await page.locator("#verdict").waitFor();
    await page.click("[data-better='0']");
  }],
];

export const looksChecks = {
  "axe-core finds nothing serious in any state, and nothing is wider than the page": async (house) => {
    let passes = 0;
    const lesser = new Map();
    for (const view of VIEWS) {
      for (const [path, name, reach] of STATES) {
        const where = `${name}, ${view.colorScheme}, ${view.viewport.width}`;
        // The policy would keep axe's own script out.
        await withPage(house, path, { ...view, bypassCSP: true, expectedErrors: ["429", "401"] }, async (page) => {
          await reach(page);
          await page.evaluate(AXE);
          const found = await page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
          passes += found.passes.length;
          const told = found.violations.map((one) => `${one.impact} ${one.id}: ${one.nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`);
          assert.deepEqual(found.violations.filter((one) => ["serious", "critical"].includes(one.impact)).length, 0, `${where}\n${told.join("\n")}`);
          found.violations.forEach((one) => lesser.set(one.id, (lesser.get(one.id) ?? 0) + 1));
          const [wide, page_wide] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
          assert.ok(wide <= page_wide, `${where} is ${wide} wide`);
        });
      }
    }
    const rest = [...lesser].map(([id, count]) => `${id} ${count}`).join(", ") || "none";
    return `${STATES.length} states × ${VIEWS.length} views, ${passes} rules passed; moderate and minor findings: ${rest}`;
  },

  "at 320 pixels, which is 1280 at fourfold zoom, everything has room": async (house) => {
    for (const [path, name, reach] of STATES) {
      await withPage(house, path, { viewport: { width: 320, height: 568 }, expectedErrors: ["429", "401"] }, async (page) => {
        await reach(page);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(wide <= 320, `${name} is ${wide} wide`);
        const cut = await page.evaluate(() => [...document.querySelectorAll("button, a, input, select, textarea")].filter((element) => {
          const box = element.getBoundingClientRect();
          return element.checkVisibility() && !element.closest(".hidden, .skip, [inert]") && box.width > 1 && (box.left < -1 || box.right > 321);
        }).map((element) => element.id || element.textContent));
        assert.deepEqual(cut, [], name);
      });
    }
    return `${STATES.length} states`;
  },
};

/** The views that the documentation shows. */
const PICTURES = [
  ["/", "chat-1280", { colorScheme: "light", viewport: { width: 1280, height: 800 } }],
  ["/", "chat-390", { colorScheme: "dark", viewport: { width: 390, height: 844 } }],
  ["/compare", "compare-1280", { colorScheme: "dark", viewport: { width: 1280, height: 800 } }],
  ["/compare", "compare-390", { colorScheme: "light", viewport: { width: 390, height: 844 } }],
];

const OTHER_ANSWER = [
  "Sort the words, then count the runs:", "```rust\nfn count(text: &str) -> Vec<(String, usize)> {\n    let mut words: Vec<_> = text.split(' ').collect();\n    words.sort();\n    // …\n}\n```",
  "1. It takes `O(n log n)`.", "2. A line break stays in its word: `split_whitespace` would part them.",
].join("\n\n");

/** Writes the pictures of the documentation. The texts are those of example.json, the models' names too. */
export async function takePictures(house, folder) {
  await mkdir(folder, { recursive: true });
  const written = [];
  for (const [path, name, view] of PICTURES) {
    await withPage(house, path, view, async (page) => {
      await page.route("**/v1/models", async (route) => {
        const list = await (await route.fetch()).json();
        await route.fulfill({ json: { ...list, data: ["assistant", "aligned"].map((id) => ({ ...list.data[0], id })) } });
      });
      await page.reload();
      await page.locator("select:not(:disabled)").first().waitFor();
      await (path === "/" ? importExample(page) : compareExample(page));
      await page.evaluate(() => document.querySelector("main").scrollTo(0, 0));
      const file = join(folder, `${name}.png`);
      await page.screenshot({ path: file });
      const bytes = (await stat(file)).size;
      assert.ok(bytes < 150_000, `${file} has ${bytes} bytes`);
      written.push(`${file}, ${Math.round(bytes / 1000)} kB`);
    });
  }
  return written.join("\n");
}

async function compareExample(page) {
  const answers = [example.messages[1].content, OTHER_ANSWER];
  await page.route("**/v1/chat/completions", async (route) => {
    const chunk = { choices: [{ index: 0, delta: { content: answers.shift() }, finish_reason: "stop" }], usage: { prompt_tokens: 41, completion_tokens: 118 - 23 * answers.length } };
    await route.fulfill({ contentType: "text/event-stream", body: `data: ${JSON.stringify(chunk)}\n\ndata: [DONE]\n\n` });
  });
  await page.fill("#prompt", example.messages[0].content);
  await page.press("#prompt", "Enter");
  await page.locator("#verdict").waitFor();
}
