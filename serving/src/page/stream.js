// The server as the pages see it: its models, its errors, its streams of answers with their counts and times.

import { ofTab } from "./storage.js";

const KEY = "cupola.key";

/** The key that was typed, kept for this tab alone. */
export const key = { get: () => ofTab.getItem(KEY) ?? "", set: (value) => ofTab.setItem(KEY, value) };

/** An answer that is no success, with what the server says of another try. */
export class ServerError extends Error {
  constructor(status, { message, code, param } = {}, waitMs = null) {
    super(message || `The server answered ${status}.`);
    Object.assign(this, { status, code: code ?? null, param: param ?? null, waitMs });
  }

  static async of(response) {
    const said = await response.json().catch(() => ({}));
    const millis = Number(response.headers.get("retry-after-ms") ?? NaN);
    const secs = Number(response.headers.get("retry-after") ?? NaN);
    const waitMs = Number.isFinite(millis) ? millis : Number.isFinite(secs) ? secs * 1000 : null;
    return new ServerError(response.status, said.error ?? {}, waitMs);
  }
}

async function ask(path, options = {}) {
  const headers = { ...(options.body ? { "Content-Type": "application/json" } : {}), ...(key.get() ? { Authorization: `Bearer ${key.get()}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError(0, { message: "The server can't be reached. Is it still running?" });
  }
  if (!response.ok) throw await ServerError.of(response);
  return response;
}

/** What is served, as `/v1/models` tells it. */
export async function servedModels() {
  return (await (await ask("/v1/models")).json()).data;
}

/** The data of each server-sent event. */
async function* events(response) {
  const reader = response.body.getReader(), decoder = new TextDecoder();
  let rest = "", data = [];
  for (;;) {
    const { done, value } = await reader.read();
    const lines = (rest + decoder.decode(value, { stream: !done })).split("\n");
    rest = done ? "" : lines.pop();
    for (const line of lines) {
      const text = line.endsWith("\r") ? line.slice(0, -1) : line;
      if (text.startsWith("data:")) data.push(text.slice(text[5] === " " ? 6 : 5));
      else if (text === "" && data.length) { yield data.join("\n"); data = []; }
    }
    if (done) return;
  }
}

/** Asks for an answer and calls `grow` with its text so far. Ends with how it went; what goes wrong stands in `error`. */
export async function streamAnswer(request, signal, grow) {
  const went = { text: "", finish: null, usage: null, firstMs: null, lastMs: null, error: null };
  const started = performance.now();
  const body = JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true, continuous_usage_stats: true } });
  try {
    let isWhole = false;
    for await (const data of events(await ask("/v1/chat/completions", { method: "POST", body, signal }))) {
      if (data === "[DONE]") { isWhole = true; break; }
      const chunk = JSON.parse(data);
      if (chunk.error) throw new ServerError(200, chunk.error);
      went.usage = chunk.usage ?? went.usage;
      const choice = chunk.choices?.[0];
      went.finish = choice?.finish_reason ?? went.finish;
      const more = choice?.delta?.content;
      if (!more) continue;
      went.lastMs = performance.now() - started;
      went.firstMs ??= went.lastMs;
      went.text += more;
      grow(went);
    }
    if (!isWhole) throw new ServerError(200, { message: "The connection broke off before the answer's end." });
  } catch (error) {
    if (signal.aborted) went.finish = "stopped";
    else Object.assign(went, { finish: "failed", error: error instanceof ServerError ? error : new ServerError(200, { message: `The answer broke off: ${error.message}` }) });
  }
  return went;
}

/** Tokens that come within less say nothing of a speed: they came together. */
const SHORTEST_MS = 20;

/** The counts of an answer that are kept with it. */
export function measureOf({ usage, finish, firstMs, lastMs }) {
  const tokens = usage?.completion_tokens ?? null;
  const isTimed = tokens > 1 && lastMs - firstMs >= SHORTEST_MS;
  return {
    finish, tokens, promptTokens: usage?.prompt_tokens ?? null,
    firstMs: firstMs === null ? null : Math.round(firstMs),
    tokensPerSec: isTimed ? Math.round(((tokens - 1) / (lastMs - firstMs)) * 1e4) / 10 : null,
  };
}

const ENDS = { length: "ended by its limit", stopped: "stopped", failed: "broke off" };

/** A measure in words. */
export function measureText({ finish, tokens, tokensPerSec, firstMs }) {
  const speed = tokensPerSec >= 100 ? Math.round(tokensPerSec) : tokensPerSec;
  return [
    tokens === null ? "" : `${tokens} token${tokens === 1 ? "" : "s"}`,
    tokensPerSec === null ? "" : `${speed} tokens/s`,
    firstMs === null ? "" : `first after ${firstMs < 1000 ? `${firstMs} ms` : `${(firstMs / 1000).toFixed(1)} s`}`,
    ENDS[finish] ?? "",
  ].filter(Boolean).join(" · ");
}
