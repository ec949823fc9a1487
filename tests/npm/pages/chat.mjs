// The chat page with answers of a real model.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";

import { answerWith, ended, neverEnding, say, turnsOf, withPage } from "./browser.mjs";
import { runningAnswers } from "./server.mjs";

const settings = async (page, values) => {
  await page.click("#open-settings");
  for (const [name, value] of Object.entries(values)) await page.fill(`#chat-${name}`, String(value));
  await page.click("#close-settings");
};
const measure = (page) => page.locator(".turn.assistant .measure").last().textContent();
const whole = async ({ origin }, request) => (await fetch(`${origin}/v1/chat/completions`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ model: "tiny", ...request }) })).json();
const download = async (page, press) => {
  const [file] = await Promise.all([page.waitForEvent("download"), press()]);
  return { name: file.suggestedFilename(), text: await readFile(await file.path(), "utf8") };
};

export const chatChecks = {
  "an answer streams, and is the one that the API gives for the same settings": (house) => withPage(house, "/", {}, async (page) => {
    const set = { temperature: 0.9, top_p: 0.95, top_k: 60, min_p: 0.01, max_tokens: 400, seed: 11, presence_penalty: 0.1, frequency_penalty: 0.1, repetition_penalty: 1.05 };
    await settings(page, { ...set, system: "Be brief.", stop: "\\n\\n\nnever said" });
    const sent = page.waitForRequest("**/v1/chat/completions");
    await say(page, "Name a colour.");
    const { stream, stream_options, ...asked } = (await sent).postDataJSON();
    const messages = [{ role: "system", content: "Be brief." }, { role: "user", content: "Name a colour." }];
    assert.deepEqual(asked, { model: "tiny", messages, ...set, stop: ["\n\n", "never said"] });
    const direct = await whole(house.server, asked);
    const stored = await page.evaluate(() => JSON.parse(localStorage.getItem(Object.keys(localStorage).find((name) => name.startsWith("cupola.chat.")))));
    assert.equal(stored.turns[1].content, direct.choices[0].message.content);
    assert.equal(stored.turns[1].measure.tokens, direct.usage.completion_tokens);
    assert.equal(stored.turns[1].measure.promptTokens, direct.usage.prompt_tokens);
    const said = await measure(page);
    assert.match(said, new RegExp(`^${direct.usage.completion_tokens} tokens · .*first after \\d`));
    assert.match(await page.locator("#usage").textContent(), new RegExp(`^${direct.usage.total_tokens} of 8192 `));
    return said;
  }),

  "stop ends the server's work at once": (house) => withPage(house, "/", {}, async (page) => {
    await neverEnding(page);
    const found = [];
    await page.evaluate(() => {
      window.lengths = new Set();
      const note = () => window.lengths.add(document.querySelector(".turn.assistant .text")?.textContent.length ?? 0);
      new MutationObserver(note).observe(document.querySelector("#turns"), { subtree: true, childList: true, characterData: true });
    });
    for (const stop of [() => page.click("#stop"), () => page.keyboard.press("Escape")]) {
      await page.click("#new-chat");
      await page.fill("#prompt", "Go on");
      await page.press("#prompt", "Enter");
      await page.waitForFunction(() => window.lengths.size > 5 && document.querySelector(".turn.assistant .text")?.textContent.length > 50);
      assert.equal(await runningAnswers(house.server), 1);
      await stop();
      const stopped = performance.now();
      while (await runningAnswers(house.server)) assert.ok(performance.now() - stopped < 1000, "the server goes on for over a second");
      found.push(`drawn at ${await page.evaluate(() => window.lengths.size)} lengths, idle ${Math.round(performance.now() - stopped)} ms later`);
      await ended(page);
      const said = await measure(page);
      assert.match(said, /tokens .*· stopped$/);
      const tokens = parseInt(said, 10);
      assert.ok(tokens < 8000, `${tokens} tokens: the answer was over before it was stopped`);
      const [text] = (await turnsOf(page)).at(-1).slice(1);
      await page.waitForTimeout(150);
      assert.equal((await turnsOf(page)).at(-1)[1], text, "the text grows after the stop");
    }
    return found.join("; ");
  }),

  "another try and an edit are versions beside the first": (house) => withPage(house, "/", {}, async (page) => {
    await settings(page, { max_tokens: 40 });
    await say(page, "first");
    await say(page, "second");
    const before = await turnsOf(page);
    await page.locator("[data-tool=again]").last().click();
    await ended(page);
    const again = await turnsOf(page);
    assert.deepEqual(again.slice(0, 3), before.slice(0, 3));
    assert.equal(await page.locator(".versions span").last().textContent(), "2 of 2");
    await page.getByLabel("Version before").last().click();
    assert.deepEqual(await turnsOf(page), before);

    const sent = page.waitForRequest("**/v1/chat/completions");
    await page.locator("[data-tool=edit]").first().click();
    await page.fill(".edit textarea", "FIRST\nwith another line");
    await page.press(".edit textarea", "Enter");
    assert.deepEqual((await sent).postDataJSON().messages, [{ role: "user", content: "FIRST\nwith another line" }]);
    await ended(page);
    assert.equal((await turnsOf(page)).length, 2);
    await say(page, "third");
    await page.getByLabel("Version before").first().click();
    assert.deepEqual(await turnsOf(page), before, "the branch before the edit is whole");
    await page.getByLabel("Version after").first().click();
    const after = await turnsOf(page);
    assert.equal(after.length, 4);
    assert.equal(after[2][1], "third");
  }),

  "a reload finds everything, also an answer that was growing": (house) => withPage(house, "/", {}, async (page) => {
    await settings(page, { max_tokens: 60, temperature: 0.4, system: "Be kind." });
    await say(page, "Hello **you**");
    const before = await turnsOf(page);
    await page.reload();
    await page.waitForSelector(".turn");
    assert.deepEqual(await turnsOf(page), before);
    assert.equal(await page.inputValue("#chat-temperature"), "0.4");
    assert.equal(await page.inputValue("#chat-system"), "Be kind.");
    await settings(page, { max_tokens: "" });
    await neverEnding(page);
    await page.fill("#prompt", "and on");
    await page.press("#prompt", "Enter");
    await page.waitForFunction(() => document.querySelectorAll(".turn.assistant .text")[1]?.textContent.length > 100);
    await page.reload();
    await page.waitForSelector(".turn");
    const turns = await turnsOf(page);
    assert.deepEqual(turns.slice(0, 3), [...before, ["user", "and on"]]);
    assert.ok(turns[3][1].length >= 100);
    assert.match(await measure(page), /stopped$/);
    return `${turns[3][1].length} letters of the answer that was growing`;
  }),

  "several conversations: open, rename, delete": (house) => withPage(house, "/", {}, async (page) => {
    await settings(page, { max_tokens: 5 });
    for (const text of ["one", "two", "three"]) {
      await page.click("#new-chat");
      await say(page, text);
    }
    const titles = () => page.$$eval("#chat-list .open", (buttons) => buttons.map((button) => button.textContent));
    assert.deepEqual(await titles(), ["three", "two", "one"]);
    await page.getByRole("button", { name: "one", exact: true }).click();
    assert.equal((await turnsOf(page))[0][1], "one");
    await page.getByRole("button", { name: "Rename" }).click();
    await page.keyboard.type("The first <b>one</b>");
    await page.keyboard.press("Enter");
    assert.deepEqual(await titles(), ["three", "two", "The first <b>one</b>"]);
    await page.getByRole("button", { name: "Delete" }).click();
    assert.equal((await titles()).length, 3, "one press deletes nothing");
    await page.getByRole("button", { name: "Delete for good?" }).click();
    assert.deepEqual(await titles(), ["three", "two"]);
    await page.reload();
    await page.waitForSelector(".turn");
    assert.deepEqual(await titles(), ["three", "two"]);
  }),

  "two tabs in one conversation lose nothing of each other": (house) => withPage(house, "/", {}, async (page) => {
    await settings(page, { max_tokens: 8 });
    await say(page, "from the first tab");
    const other = await page.context().newPage();
    await other.goto(house.server.origin);
    await other.locator("#model:not(:disabled)").waitFor();
    await say(other, "from the second");
    await page.waitForFunction(() => document.querySelectorAll(".turn").length === 4);
    await say(page, "from the first again");
    await other.waitForFunction(() => document.querySelectorAll(".turn").length === 6);
    assert.deepEqual(await turnsOf(page), await turnsOf(other));
    await page.reload();
    await page.waitForSelector(".turn");
    assert.deepEqual(await turnsOf(page), await turnsOf(other));
  }),

  "a browser that keeps nothing, or has no room, is told of": async (house) => {
    const without = ["localStorage", "sessionStorage"].map((kind) => `Object.defineProperty(window, "${kind}", { get() { throw new DOMException("denied", "SecurityError"); } });`).join("\n");
    for (const path of ["/", "/compare"]) {
      await withPage(house, path, { script: without }, async (page) => {
        if (path === "/") assert.match(await page.locator("#empty").textContent(), /keeps nothing/);
        await answerWith(page, ["Still ", "there."]);
        await say(page, "Hello");
        await page.locator(".prose", { hasText: "Still there." }).first().waitFor();
      });
    }
    const full = "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };";
    await withPage(house, "/", {}, async (page) => {
      await page.evaluate(full);
      await answerWith(page, ["Still ", "there."]);
      await say(page, "Hello");
      assert.match(await page.locator("#problem").textContent(), /no room left/);
      assert.deepEqual((await turnsOf(page)).at(-1), ["assistant", "Still there."]);
    });
  },

  "a shared file comes back as it went": (house) => withPage(house, "/", {}, async (page) => {
    await settings(page, { max_tokens: 30, seed: 4, temperature: 0.5, stop: "a\\\\b\nc" });
    await say(page, "Share \"this\" & <that>\nwith two lines");
    await say(page, "and this");
    const share = () => download(page, () => page.getByRole("button", { name: "Share", exact: true }).click());
    const first = await share();
    assert.match(first.name, /^share-this-that\.json$/);
    const before = await turnsOf(page);
    await page.evaluate(() => localStorage.clear());
    await page.reload();
    await page.setInputFiles("#import-file", { name: first.name, mimeType: "application/json", buffer: Buffer.from(first.text) });
    await page.waitForSelector(".turn");
    assert.deepEqual(await turnsOf(page), before);
    assert.equal((await share()).text, first.text);
    for (const [text, word] of [["nonsense", "not JSON"], ["{}", "format"], [first.text.replace('"user"', '"root"'), "message 1"], [first.text.replace("0.5", "50"), "settings"]]) {
      await page.setInputFiles("#import-file", { name: "a.json", mimeType: "application/json", buffer: Buffer.from(text) });
      await page.locator("#problem .problem", { hasText: word }).waitFor();
      assert.deepEqual(await turnsOf(page), before);
    }
    return `${first.text.length} bytes, the same after the round`;
  }),

  "a script in a model's text, in a title or in a file is text": (house) => withPage(house, "/", { expectedErrors: ["This document requires 'Trusted"] }, async (page) => {
    const hostile = "<script>window.ran = 1</script><img src=x onerror=\"window.ran = 1\"> [click](javascript:window.ran=1) <svg onload=window.ran=1>\n\n```html\n<script>window.ran = 1</script>\n```\n\n| <img src=x onerror=window.ran=1> |\n|---|\n| <script>window.ran=1</script> |";
    await answerWith(page, hostile.match(/[^]{1,7}/g));
    await say(page, hostile);
    const shown = await page.locator(".turn.assistant .text").textContent();
    for (const text of ["<script>window.ran = 1</script><img src=x onerror=\"window.ran = 1\">", "[click](javascript:window.ran=1)", "<svg onload=window.ran=1>"]) assert.ok(shown.includes(text), text);
    assert.equal(await page.locator("#turns :is(script, img, svg, iframe, a)").count(), 0);
    const shared = { format: "cupola-chat-1", title: hostile, created: "2026-01-01", settings: { system: hostile }, messages: [{ role: "assistant", content: hostile, model: hostile }] };
    await page.setInputFiles("#import-file", { name: "a.json", mimeType: "application/json", buffer: Buffer.from(JSON.stringify(shared)) });
    await page.locator(".turn .name", { hasText: "onerror" }).waitFor();
    assert.equal(await page.evaluate(() => window.ran), undefined);
    // Were there a hole in the modules, the policy would close it.
    const tries = await page.evaluate(() => ["script", "markup", "handler"].map((kind) => {
      try {
        const element = document.createElement(kind === "script" ? "script" : "div");
        if (kind === "script") element.text = "window.ran = 1";
        else if (kind === "markup") element.innerHTML = "<img src=x onerror='window.ran = 1'>";
        else element.setAttribute("onclick", "window.ran = 1");
        document.body.append(element);
        element.click();
        return "ran on";
      } catch (error) { return error.name; }
    }));
    await page.waitForTimeout(100);
    assert.equal(await page.evaluate(() => window.ran), undefined);
    return `by hand: ${tries.join(", ")}`;
  }),

  "the model's facts and lineage": (house) => withPage(house, "/", {}, async (page) => {
    assert.match(await page.locator("#model-facts").textContent(), /parameters · context of 8192 tokens/);
    await page.click("#about");
    await page.locator("dialog[open] dt", { hasText: "fingerprint" }).waitFor();
    const link = await page.locator("dialog a").getAttribute("href");
    assert.equal((await (await fetch(house.server.origin + link)).json()).id, "tiny");
    await page.keyboard.press("Escape");
    for (const path of ["/compare", "/openapi.json"]) {
      assert.equal(await page.locator(`.links a[href="${path}"]`).count(), 1);
      assert.equal((await fetch(house.server.origin + path)).status, 200);
    }
  }),
};
