// The browser, and a page in it that notes what it should not do.

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

function findBrowser() {
  const folders = (process.env.PATH ?? "").split(delimiter);
  const found = [process.env.CHROMIUM, ...NAMES.flatMap((name) => folders.map((folder) => join(folder, name)))].find((path) => path && existsSync(path));
  if (found) return found;
  throw new Error(`No Chromium: looked for ${NAMES.join(", ")} on the PATH. Get one by 'apt-get install chromium', or name yours in CHROMIUM.`);
}

export async function openBrowser() {
  // Within a container there is no sandbox for the browser; it opens nothing but our own server.
  return chromium.launch({ executablePath: findBrowser(), args: ["--no-sandbox"] });
}

/** Opens a page of a server, runs `work` with it, and holds it against what no page may do: an error, a refused load, another host. */
export async function withPage({ browser, server }, path, options, work) {
  const { expectedErrors = [], script, ...context } = options;
  const tab = await browser.newContext({ viewport: { width: 1280, height: 800 }, acceptDownloads: true, ...context });
  tab.setDefaultTimeout(15_000);
  if (script) await tab.addInitScript(script);
  const wrong = [];
  try {
    const page = await tab.newPage();
    page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
    page.on("console", (message) => { if (message.type() === "error" && !expectedErrors.some((word) => message.text().includes(word))) wrong.push(`console: ${message.text()}`); });
    page.on("request", (request) => { if (!/^(blob:|data:)/.test(request.url()) && new URL(request.url()).origin !== server.origin) wrong.push(`asks ${request.url()}`); });
    await page.goto(server.origin + path);
    await page.locator("select:not(:disabled)").first().waitFor();
    const found = await work(page);
    assert.deepEqual(wrong, []);
    return found;
  } finally {
    await tab.close();
  }
}

/** Sends a message on the chat page and waits for the answer's end. */
export async function say(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
  await ended(page);
}

export async function ended(page) {
  await page.locator("#send").waitFor();
}

/** What stands in the conversation: role and text of each turn. */
export function turnsOf(page) {
  return page.$$eval(".turn", (turns) => turns.map((turn) => [turn.classList.contains("user") ? "user" : "assistant", turn.querySelector(".text").textContent]));
}

/** Has the server's next answers be a stream of these pieces. */
export async function answerWith(page, pieces, { finish = "stop", isCut = false } = {}) {
  const head = { id: "chatcmpl-0", object: "chat.completion.chunk", created: 0, model: "tiny" };
  const chunk = (delta, finish_reason, tokens) => `data: ${JSON.stringify({ ...head, choices: [{ index: 0, delta, finish_reason }], usage: { prompt_tokens: 9, completion_tokens: tokens, total_tokens: 9 + tokens } })}\n\n`;
  const body = pieces.map((piece, place) => chunk({ content: piece }, null, place + 1)).join("");
  const end = isCut ? "" : `${chunk({}, finish, pieces.length)}data: [DONE]\n\n`;
  await page.route("**/v1/chat/completions", (route) => route.fulfill({ status: 200, contentType: "text/event-stream", body: body + end }));
}

/** Has answers go on until the context is full or somebody stops them. */
export async function neverEnding(page) {
  await page.route("**/v1/chat/completions", (route) => {
    const body = { ...route.request().postDataJSON(), ignore_eos: true };
    return route.continue({ postData: JSON.stringify(body) });
  });
}
