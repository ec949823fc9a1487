// Drives the pages of a server in Chromium, says what each check found, and exits non-zero if any failed.
//
//     node tests/npm/pages.mjs target/release/cupola-serve .venv/bin/python [--pictures DIR] [--only WORD]
//
// The model is tests/python/tiny_model.py's; where a check needs certain text, the answer's stream is written by the check itself.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { openBrowser } from "./pages/browser.mjs";
import { chatChecks } from "./pages/chat.mjs";
import { commonmarkChecks } from "./pages/commonmark.mjs";
import { compareChecks } from "./pages/compare.mjs";
import { errorChecks } from "./pages/errors.mjs";
import { keyboardChecks } from "./pages/keyboard.mjs";
import { looksChecks, takePictures } from "./pages/looks.mjs";
import { markdownChecks } from "./pages/markdown.mjs";
import { startServer, writeModel } from "./pages/server.mjs";

const { values, positionals } = parseArgs({ allowPositionals: true, options: { pictures: { type: "string" }, only: { type: "string" } } });
const [binary, python] = positionals;

const home = await mkdtemp(join(tmpdir(), "cupola-pages-"));
const opened = [];
let failed = 0;
try {
  const browser = await openBrowser();
  opened.push(() => browser.close());
  const model = writeModel(python, join(home, "tiny"));
  const start = async (...options) => {
    const server = await startServer(binary, model, home, options);
    opened.push(server.stop);
    return server;
  };
  const house = { browser, start, home, server: await start("--context", "8192") };
  const checks = { ...commonmarkChecks, ...markdownChecks, ...chatChecks, ...keyboardChecks, ...compareChecks, ...errorChecks, ...looksChecks };
  for (const [name, check] of Object.entries(checks)) {
    if (values.only && !name.includes(values.only)) continue;
    const started = performance.now();
    try {
      const found = await check(house);
      console.log(`ok      ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)${found ? `\n        ${found}` : ""}`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}`);
    }
  }
  if (values.pictures) console.log(await takePictures(house, values.pictures));
} catch (error) {
  failed += 1;
  console.log(error.message);
} finally {
  for (const close of opened.reverse()) await close();
  await rm(home, { recursive: true, force: true });
}
console.log(failed ? `${failed} checks failed` : "the pages do what they should");
process.exit(failed ? 1 : 0);
