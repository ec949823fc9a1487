// What the pages say when the server says no, or nothing.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";

import { answerWith, ended, say, turnsOf, withPage } from "./browser.mjs";

const problem = (page) => page.locator("#problem");

export const errorChecks = {
  "a refusal is told in the server's words": (house) => withPage(house, "/", { expectedErrors: ["400"] }, async (page) => {
    await page.click("#open-settings");
    await page.fill("#chat-max_tokens", "100000");
    await say(page, "Too long an answer");
    const text = await problem(page).textContent();
    assert.match(text, /maximum context length is 8192 tokens/);
    assert.match(text, /HTTP 400 · context_length_exceeded · about/);
    assert.deepEqual(await turnsOf(page), [["user", "Too long an answer"]]);
    await page.fill("#chat-max_tokens", "5");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator(".turn.assistant .measure", { hasText: "token" }).waitFor();
    assert.equal(await problem(page).textContent(), "");
    await page.fill("#chat-top_p", "3");
    await page.fill("#prompt", "A field that is wrong is not sent");
    await page.press("#prompt", "Enter");
    await page.waitForTimeout(100);
    assert.equal(await page.evaluate(() => document.activeElement.id), "chat-top_p");
    assert.equal(await page.inputValue("#prompt"), "A field that is wrong is not sent");
  }),

  "a limit shows the wait and counts it down": async (house) => {
    const key = "sk-pages";
    const sha256 = createHash("sha256").update(key).digest("hex");
    await writeFile(join(house.home, "keys.yaml"), `- name: pages\n  sha256: ${sha256}\n  requests_per_minute: 12\n`);
    const server = await house.start("--keys", "keys.yaml");
    // The browser's own dialog for the page; the page itself asks where that key is not taken any more.
    return withPage({ ...house, server }, "/", { httpCredentials: { username: "me", password: key }, expectedErrors: ["429", "401"] }, async (page) => {
      const limited = async () => {
        for (let message = 0; message < 14; message += 1) {
          await say(page, "Hi");
          if (await problem(page).locator(".problem").count()) return;
        }
        assert.fail("no limit was met");
      };
      await page.click("#open-settings");
      await page.fill("#chat-max_tokens", "2");
      await limited();
      assert.match(await problem(page).textContent(), /Rate limit of 12 requests per minute reached by 'pages'.*HTTP 429 · rate_limit_exceeded/s);
      const again = page.getByRole("button", { name: "Try again" }).last();
      assert.ok(await again.isDisabled());
      const wait = () => page.locator("#problem .wait").textContent();
      const first = await wait();
      assert.match(first, /^in [1-6] s$/);
      await page.waitForFunction((before) => document.querySelector("#problem .wait").textContent !== before, first);
      await again.click(); // waits until it may
      await page.locator("#problem .problem").waitFor({ state: "detached" });
      await ended(page);

      await page.route("**/v1/models", (route) => route.continue({ headers: { ...route.request().headers(), authorization: route.request().headers().authorization ?? "Bearer old" } }));
      await page.reload();
      const dialog = page.locator("#key-dialog");
      await dialog.waitFor();
      await page.fill("#key", "sk-wrong");
      await page.keyboard.press("Enter");
      await page.locator("#key-dialog p", { hasText: "Incorrect API key" }).waitFor();
      await page.fill("#key", key);
      await page.keyboard.press("Enter");
      await page.locator("#model:not(:disabled)").waitFor();
      const kept = await page.evaluate(() => [sessionStorage.getItem("cupola.key"), JSON.stringify(localStorage)]);
      assert.equal(kept[0], key);
      assert.ok(!kept[1].includes(key), "the key is in this tab's storage only");
      return `first seen: ${first}`;
    });
  },

  "a page without the key is not given out": async (house) => {
    const server = await house.start("--api-key", "sk-other");
    for (const path of ["/", "/compare", "/page/chat.js"]) assert.equal((await fetch(server.origin + path)).status, 401);
    for (const path of ["/", "/compare"]) assert.match((await fetch(server.origin + path)).headers.get("www-authenticate"), /^Basic /);
    await server.stop();
  },

  "a stream that breaks off and a server that is gone": async (house) => {
    const server = await house.start();
    return withPage({ ...house, server }, "/", { expectedErrors: ["ERR_CONNECTION_REFUSED", "ERR_"] }, async (page) => {
      await answerWith(page, ["Half an ", "answer"], { isCut: true });
      await say(page, "Hello");
      assert.match(await problem(page).textContent(), /broke off before the answer's end/);
      assert.deepEqual((await turnsOf(page)).at(-1), ["assistant", "Half an answer"]);
      await page.unroute("**/v1/chat/completions");
      await server.stop();
      await page.getByRole("button", { name: "Try again" }).last().click();
      await page.locator("#problem", { hasText: "can't be reached" }).waitFor();
    });
  },
};
