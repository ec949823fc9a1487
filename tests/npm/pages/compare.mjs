// The compare page.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { answerWith, neverEnding, withPage } from "./browser.mjs";
import { runningAnswers } from "./server.mjs";

const set = async (page, side, values) => {
  await page.locator(`#sampling-${side}`).evaluate((panel) => { panel.closest("details").open = true; });
  for (const [name, value] of Object.entries(values)) await page.fill(`#${side}-${name}`, String(value));
  await page.locator(`#sampling-${side}`).evaluate((panel) => { panel.closest("details").open = false; });
};
const ask = async (page, text) => {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
};
const column = (page, name, part) => page.locator(`#${name} ${part}`).textContent();

export const compareChecks = {
  "compare: both answer at the same time, and the choice becomes a pair": (house) => withPage(house, "/compare", {}, async (page) => {
    await set(page, "a", { seed: 1, max_tokens: 90 });
    await set(page, "b", { seed: 2, max_tokens: 90, temperature: 0.3 });
    const sent = [];
    page.on("request", (request) => { if (request.url().endsWith("/completions")) sent.push(request.postDataJSON()); });
    await ask(page, "Which is better?");
    await page.locator("#verdict").waitFor();
    assert.deepEqual(sent.map(({ seed, temperature, messages }) => [seed, temperature, messages]), [1, 2].map((seed) => [seed, seed === 2 ? 0.3 : undefined, [{ role: "user", content: "Which is better?" }]]));
    assert.match(await column(page, "left", ".measure"), /^\d+ tokens/);
    assert.equal(await column(page, "right", ".name"), "tiny · temperature 0.3 · max tokens 90 · seed 2");
    await page.click("[data-better='1']");
    assert.match(await page.locator("#tally").textContent(), /seed 2 1$/);
    await page.click("[data-better='0']");
    assert.match(await page.locator("#tally").textContent(), /seed 1 1$/, "a choice can be changed");
    await ask(page, "And now?");
    await page.locator("#verdict").waitFor();
    await page.click("[data-better='none']");
    await set(page, "a", { system: "Be brief." });
    await ask(page, "And under a system prompt?");
    await page.locator("#verdict").waitFor();
    await page.click("[data-better='0']");
    assert.match(await page.locator("#tally").textContent(), /2 of 3 can be no pair/);
    const stored = await page.evaluate(() => JSON.parse(localStorage.getItem("cupola.preferences")));
    const [file] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
    assert.equal(file.suggestedFilename(), "pairs.jsonl");
    const lines = (await readFile(await file.path(), "utf8")).trimEnd().split("\n").map((line) => JSON.parse(line));
    const [left, right] = stored[0].sides;
    assert.deepEqual(lines, [{ prompt: "Which is better?", chosen: left.text, rejected: right.text, labeler: "human", votes: [1, 0] }]);
    await page.reload();
    await page.locator("#export").waitFor();
    assert.equal(await page.inputValue("#b-temperature"), "0.3");
    await page.click("#forget");
    assert.equal((await page.evaluate(() => JSON.parse(localStorage.getItem("cupola.preferences")))).length, 3, "one press deletes nothing");
    await page.click("#forget");
    assert.equal((await page.evaluate(() => JSON.parse(localStorage.getItem("cupola.preferences")))).length, 0);
  }),

  "compare: both streams run side by side, and stop ends both": (house) => withPage(house, "/compare", {}, async (page) => {
    await neverEnding(page);
    await ask(page, "Go on");
    await page.waitForFunction(() => ["left", "right"].every((name) => document.querySelector(`#${name} .text`).textContent.length > 50));
    assert.equal(await runningAnswers(house.server), 2);
    await page.click("#stop");
    const stopped = performance.now();
    while (await runningAnswers(house.server)) assert.ok(performance.now() - stopped < 1000, "the server goes on for over a second");
    const millis = Math.round(performance.now() - stopped);
    await page.locator("#send").waitFor();
    assert.ok(await page.locator("#verdict").isHidden(), "halves are not compared");
    return `idle ${millis} ms later`;
  }),

  "compare: a blind choice does not know which is which": (house) => withPage(house, "/compare", {}, async (page) => {
    await answerWith(page, ["An ", "answer."]);
    await set(page, "b", { temperature: 0.1 });
    await page.check("#blind");
    const lefts = new Set();
    for (let round = 0; round < 24 && lefts.size < 2; round += 1) {
      await ask(page, `Round ${round}`);
      await page.locator("#verdict").waitFor();
      assert.deepEqual([await column(page, "left", ".name"), await column(page, "left", ".measure"), await column(page, "right", ".name")], ["Left", "", "Right"]);
      await page.click("[data-better='0']");
      lefts.add(await column(page, "left", ".name"));
    }
    assert.deepEqual([...lefts].sort(), ["tiny", "tiny · temperature 0.1"]);
  }),

  "compare: a side that fails says so, and can be tried again": (house) => withPage(house, "/compare", { expectedErrors: ["404"] }, async (page) => {
    await page.route("**/v1/models", async (route) => {
      const list = await (await route.fetch()).json();
      list.data.push({ ...list.data[0], id: "gone" });
      await route.fulfill({ json: list });
    });
    await page.reload();
    await page.locator("#model-b:not(:disabled)").waitFor();
    assert.equal(await page.inputValue("#model-b"), "gone", "the second of two models is the second side's");
    await set(page, "a", { max_tokens: 9 });
    await ask(page, "Hello");
    await page.locator("#right .problem", { hasText: "does not exist here" }).waitFor();
    await page.locator("#send").waitFor();
    assert.ok((await column(page, "left", ".text")).length > 0);
    assert.ok(await page.locator("#verdict").isHidden());
    await answerWith(page, ["There."]);
    await page.locator("#right").getByRole("button", { name: "Try again" }).click();
    await page.locator("#verdict").waitFor();
    assert.equal(await column(page, "right", ".text"), "There.");
  }),
};
