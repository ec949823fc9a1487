// The pages without a mouse, with a screen reader's ears, and without motion.

import assert from "node:assert/strict";

import { answerWith, ended, neverEnding, turnsOf, withPage } from "./browser.mjs";

/** Presses Tab until the focus is back at the beginning; gives what had it, and holds each against being seen. */
async function tabStops(page) {
  const stops = [];
  const first = await page.evaluateHandle(() => [...document.querySelectorAll("a, button, textarea")].find((element) => !element.closest("[inert]") && element.checkVisibility()));
  await page.keyboard.press("Tab"); // keys, not a mouse, move the focus
  await first.evaluate((element) => element.focus());
  for (let press = 0; press < 120; press += 1) {
    const stop = await page.evaluate(() => {
      const element = document.activeElement;
      if (!element || element === document.body) return null;
      const style = getComputedStyle(element), box = element.getBoundingClientRect();
      const ring = element.id === "prompt" ? getComputedStyle(element.closest("form")).boxShadow !== "none" : style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
      return { name: element.id || element.getAttribute("aria-label") || element.textContent.trim(), isSeen: ring && box.width > 0 && box.height > 0 };
    });
    if (stop === null || (stops.length && stop.name === stops[0].name)) break;
    stops.push(stop);
    await page.keyboard.press("Tab");
  }
  for (const stop of stops) assert.ok(stop.isSeen, `the focus on ${stop.name} can't be seen`);
  return stops.map((stop) => stop.name);
}

function expectOrder(stops, names) {
  const places = names.map((name) => stops.indexOf(name));
  assert.ok(places.every((place, at) => place >= 0 && (at === 0 || place > places[at - 1])), `${names.join(", ")} in ${stops.join(", ")}`);
}

export const keyboardChecks = {
  "the chat by keys alone": (house) => withPage(house, "/", {}, async (page) => {
    await answerWith(page, ["An ", "answer."]);
    await page.keyboard.type("one line");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("two");
    assert.equal(await page.inputValue("#prompt"), "one line\ntwo");
    assert.equal((await turnsOf(page)).length, 0);
    await page.keyboard.press("Enter");
    await page.locator(".turn.assistant").waitFor();
    await ended(page);
    assert.equal((await turnsOf(page))[0][1], "one line\ntwo");
    await page.unroute("**/v1/chat/completions");
    await neverEnding(page);
    await page.keyboard.press("ArrowUp");
    assert.equal(await page.evaluate(() => document.activeElement.value), "one line\ntwo");
    await page.keyboard.press("Escape");
    assert.equal(await page.locator(".edit").count(), 0);
    await page.focus("#prompt");
    await page.keyboard.press("ArrowUp");
    await page.keyboard.type(" edited");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.querySelector(".turn.assistant .text")?.textContent.length > 50);
    await page.keyboard.press("Escape");
    await ended(page);
    assert.equal((await turnsOf(page))[0][1], "one line\ntwo edited");
    const stops = await tabStops(page);
    expectOrder(stops, ["Skip to the message", "model", "open-settings", "new-chat", "Rename", "Share", "Delete", "import", "about", "Version before", "Copy", "Edit", "Try again", "prompt", "send"]);
    await page.evaluate(() => document.querySelector(".skip").focus());
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "prompt");
    await page.focus("#open-settings");
    await page.keyboard.press("Enter");
    await page.keyboard.press("Escape");
    assert.equal(await page.getAttribute("#open-settings", "aria-expanded"), "false");
    return `${stops.length} stops, each with a ring`;
  }),

  "on a phone a drawer holds the focus and gives it back": (house) => withPage(house, "/", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }, async (page) => {
    for (const name of ["chats", "settings"]) {
      await page.focus(`#open-${name}`);
      await page.keyboard.press("Enter");
      const stops = await tabStops(page);
      const outside = await page.evaluate((drawer) => [...document.querySelectorAll("#prompt, #model, #send")].some((element) => !element.closest("[inert]") && !element.closest(`#${drawer}`)), name);
      assert.ok(!outside && stops.length > 2 && !stops.includes("prompt"), stops.join(", "));
      await page.locator(`#${name} :is(button, textarea)`).first().focus();
      await page.keyboard.press("Escape");
      assert.equal(await page.evaluate(() => document.activeElement.id), `open-${name}`);
      await page.click(`#open-${name}`);
      await page.touchscreen.tap(name === "chats" ? 380 : 5, 400);
      assert.equal(await page.locator(".drawer.is-open").count(), 0, "a tap beside the drawer closes it");
    }
  }),

  "a screen reader hears of an answer once, not of each token": (house) => withPage(house, "/", { reducedMotion: "reduce" }, async (page) => {
    await page.evaluate(() => {
      window.said = [];
      new MutationObserver(() => window.said.push(document.querySelector("#announcer").textContent)).observe(document.querySelector("#announcer"), { childList: true, characterData: true, subtree: true });
    });
    await neverEnding(page);
    await page.fill("#prompt", "Go on");
    await page.press("#prompt", "Enter");
    await page.waitForFunction(() => document.querySelector(".turn.assistant .text")?.textContent.length > 200);
    const live = await page.evaluate(() => {
      const growing = document.querySelector(".turn.assistant .text");
      const around = growing.closest("[aria-live], [role=log], [role=status], [role=alert]");
      return { around: around?.outerHTML ?? null, isBusy: growing.closest("article").getAttribute("aria-busy"), motion: getComputedStyle(document.querySelector(".live .measure"), "::before").animationName };
    });
    assert.deepEqual(live, { around: null, isBusy: "true", motion: "none" });
    await page.keyboard.press("Escape");
    await ended(page);
    const said = await page.evaluate(() => window.said);
    assert.equal(said.length, 2, JSON.stringify(said));
    assert.equal(said[0], "The model is answering.");
    assert.ok(said[1].startsWith("tiny: ") && said[1].length > 200);
  }),

  "compare by keys alone": (house) => withPage(house, "/compare", {}, async (page) => {
    await answerWith(page, ["An ", "answer."]);
    await page.evaluate(() => document.querySelector("#prompt").focus());
    await page.keyboard.type("Name a colour.");
    await page.keyboard.press("Enter");
    await page.locator("#verdict").waitFor();
    const stops = await tabStops(page);
    expectOrder(stops, ["model-a", "model-b", "Left is better", "Equally good", "Right is better", "prompt", "send", "blind"]);
    await page.getByRole("button", { name: "Left is better" }).focus();
    await page.keyboard.press("Enter");
    assert.equal(await page.getAttribute("[data-better='0']", "aria-pressed"), "true");
    return `${stops.length} stops`;
  }),
};
