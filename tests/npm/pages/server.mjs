// A server of the tiny model on a free port. A model is called as its folder is.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export function writeModel(python, folder) {
  execFileSync(python, [fileURLToPath(new URL("../../python/tiny_model.py", import.meta.url)), folder], { stdio: ["ignore", "inherit", "inherit"] });
  return folder;
}

export async function startServer(binary, model, home, options) {
  const process = spawn(binary, ["--model", model, "--listen", "127.0.0.1:0", "--threads", "1", ...options], { stdio: ["ignore", "pipe", "pipe"], cwd: home });
  let log = "";
  process.stderr.on("data", (data) => { log += data; });
  const lines = createInterface(process.stdout);
  const origin = await Promise.race([
    once(lines, "line").then(([line]) => /http:\/\/[^\s]+/.exec(line)?.[0]),
    once(process, "exit").then(() => { throw new Error(`the server did not start:\n${log}`); }),
  ]);
  assert.ok(origin, "the server says where it listens");
  const stop = async () => {
    if (process.exitCode !== null) return;
    process.kill("SIGINT");
    await once(process, "exit");
  };
  return { origin, stop, log: () => log };
}

/** How many answers the server generates at this moment. */
export async function runningAnswers({ origin }) {
  const text = await (await fetch(`${origin}/metrics`)).text();
  const line = text.split("\n").find((one) => /^(vllm:num_requests_running|cupola_answers_running)\{/.test(one));
  assert.ok(line, "answers in slots are a metric");
  return Number(line.split(" ").at(-1));
}
