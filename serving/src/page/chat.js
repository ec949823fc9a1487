"use strict";
// A chat page without a framework. Text reaches the page only as text nodes, so nothing that a model writes can become markup.

const find = (id) => document.getElementById(id);
const log = find("log"), prompt = find("prompt"), send = find("send"), stop = find("stop"), status = find("status");
const state = { model: "", messages: load("messages", []), running: null };

function load(name, otherwise) {
  try { return JSON.parse(sessionStorage.getItem("cupola." + name)) ?? otherwise; } catch { return otherwise; }
}
function save(name, value) {
  try { sessionStorage.setItem("cupola." + name, JSON.stringify(value)); } catch { /* private mode: the chat lives in this page only */ }
}
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// --- text -------------------------------------------------------------------------------------------------------------------

/** Cuts text into fenced code blocks and paragraphs; an open fence, as in a stream, is a block too. */
function blocksOf(text) {
  const blocks = [];
  let lines = [], fence = null;
  const flush = () => {
    const body = lines.join("\n");
    if (fence !== null) blocks.push({ code: body, language: fence });
    else body.split(/\n{2,}/).filter((part) => part.trim()).forEach((part) => blocks.push({ text: part.replace(/^\n+|\n+$/g, "") }));
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = /^\s*```\s*([\w+#.-]*)\s*$/.exec(line);
    if (mark && (fence === null || !mark[1])) {
      flush();
      fence = fence === null ? mark[1] : null;
    } else lines.push(line);
  }
  if (fence !== null || lines.length) flush();
  return blocks;
}

function paragraph(text) {
  const p = make("p");
  text.split(/(`[^`\n]+`)/).forEach((part, index) => {
    p.append(index % 2 ? make("code", "", part.slice(1, -1)) : document.createTextNode(part));
  });
  return p;
}

function codeBlock({ code, language }) {
  const block = make("div", "block"), bar = make("div", "bar"), copy = make("button", "quiet", "Copy");
  copy.type = "button";
  copy.addEventListener("click", async () => {
    try { await navigator.clipboard.writeText(code); copy.textContent = "Copied"; } catch { copy.textContent = "Not allowed"; }
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  });
  bar.append(make("span", "", language || "code"), copy);
  const pre = make("pre");
  pre.tabIndex = 0;
  pre.append(make("code", "", code));
  block.append(bar, pre);
  return block;
}

function render(target, text) {
  target.replaceChildren(...blocksOf(text).map((block) => ("code" in block ? codeBlock(block) : paragraph(block.text))));
}

function addTurn(role, text) {
  find("empty").hidden = true;
  const turn = make("article", "turn " + role);
  const body = make("div", "text"), note = make("div", "note");
  turn.append(make("h2", role === "user" ? "hidden" : "", { user: "You", assistant: state.model || "Model", error: "Error" }[role]), body, note);
  render(body, text);
  log.append(turn);
  scrollDown(true);
  return { turn, body, note };
}

/** Follows the stream, but not when the reader has scrolled up. */
function scrollDown(always) {
  if (always || log.scrollHeight - log.scrollTop - log.clientHeight < 90) log.scrollTop = log.scrollHeight;
}

// --- server -----------------------------------------------------------------------------------------------------------------

function headers() {
  const key = load("key", "");
  return { "Content-Type": "application/json", ...(key ? { Authorization: "Bearer " + key } : {}) };
}

async function failure(response) {
  let message = `The server answered ${response.status}.`;
  try { message = (await response.json()).error.message; } catch { /* no error object */ }
  const error = new Error(message);
  error.status = response.status;
  return error;
}

async function loadModel() {
  const response = await fetch("v1/models", { headers: headers() });
  if (response.status === 401) { find("key-dialog").showModal(); return; }
  if (!response.ok) throw await failure(response);
  const model = (await response.json()).data[0];
  state.model = model.id;
  find("model-name").textContent = model.id;
  document.title = model.id + " · Cupola";
  const millions = (model.parameters / 1e6).toFixed(1);
  const lineage = find("lineage");
  lineage.textContent = `lineage ${model.fingerprint ? model.fingerprint.slice(0, 12) : "unknown"} · ${millions} M parameters · context ${model.max_model_len}`;
  lineage.title = model.fingerprint;
  if (load("temperature", null) === null) setTemperature(model.sampling_defaults.temperature);
}

/** The data of server-sent events, as they come. */
async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    let end;
    while ((end = buffer.indexOf("\n\n")) >= 0) {
      const event = buffer.slice(0, end);
      buffer = buffer.slice(end + 2);
      if (event.startsWith("data: ")) yield event.slice(6);
    }
  }
}

function requestBody() {
  const system = find("system").value.trim(), limit = parseInt(find("max-tokens").value, 10);
  return {
    model: state.model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...state.messages],
    temperature: Number(find("temperature").value),
    ...(limit > 0 ? { max_tokens: limit } : {}),
    stream: true,
    stream_options: { include_usage: true },
  };
}

async function answer() {
  const abort = new AbortController(), messages = state.messages;
  const { turn, body, note } = addTurn("assistant", "");
  turn.classList.add("live");
  let text = "", finish = "", usage = null, first = 0, pending = 0, tokens = 0;
  const paint = () => { pending = 0; render(body, text); scrollDown(false); };
  setRunning(abort);
  const started = performance.now();
  try {
    const response = await fetch("v1/chat/completions", {
      method: "POST", headers: headers(), body: JSON.stringify(requestBody()), signal: abort.signal,
    });
    if (!response.ok) throw await failure(response);
    for await (const data of events(response)) {
      if (data === "[DONE]") break;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      usage = chunk.usage ?? usage;
      const choice = chunk.choices[0];
      if (!choice) continue;
      finish = choice.finish_reason ?? finish;
      if (choice.delta.content) {
        first ||= performance.now();
        tokens += 1;
        text += choice.delta.content;
        pending ||= requestAnimationFrame(paint);
      }
    }
  } catch (error) {
    if (error.name === "AbortError") finish = "stopped";
    else { showError(error); finish = "failed"; }
  }
  cancelAnimationFrame(pending);
  paint();
  turn.classList.remove("live");
  const count = usage?.completion_tokens ?? tokens, secs = (performance.now() - (first || started)) / 1000;
  const speed = count > 1 && first ? `${((count - 1) / Math.max(secs, 0.001)).toFixed(0)} tokens/s` : "";
  const ends = { length: "cut at the longest answer", stopped: "stopped", failed: "failed" };
  note.textContent = [`${count} tokens`, speed, ends[finish]].filter(Boolean).join(" · ");
  status.textContent = [speed, usage ? `${usage.total_tokens} tokens of context used` : ""].filter(Boolean).join(" · ");
  if (text) messages.push({ role: "assistant", content: text });
  if (messages === state.messages) save("messages", messages); // else a new chat began meanwhile
  if (!text && (finish === "failed" || finish === "stopped")) turn.remove();
  setRunning(null);
}

function showError(error) {
  addTurn("error", error.status === 429 ? "The server is busy; try again in a moment." : error.message);
  if (error.status === 401) find("key-dialog").showModal();
}

// --- controls ---------------------------------------------------------------------------------------------------------------

function setRunning(abort) {
  state.running = abort;
  send.hidden = Boolean(abort);
  stop.hidden = !abort;
  log.setAttribute("aria-busy", String(Boolean(abort)));
  if (!abort) prompt.focus({ preventScroll: true });
}

function setTemperature(value) {
  find("temperature").value = value;
  find("temperature-value").textContent = Number(value).toFixed(1);
}

function grow() {
  prompt.style.height = "auto";
  prompt.style.height = prompt.scrollHeight + 2 + "px";
}

function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  save("theme", theme);
}

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = prompt.value.trim();
  if (!text || state.running || !state.model) return;
  prompt.value = "";
  grow();
  state.messages.push({ role: "user", content: text });
  save("messages", state.messages);
  addTurn("user", text);
  answer();
});
prompt.addEventListener("input", grow);
prompt.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); find("composer").requestSubmit(); }
});
stop.addEventListener("click", () => state.running?.abort());
document.addEventListener("keydown", (event) => { if (event.key === "Escape") state.running?.abort(); });
find("new-chat").addEventListener("click", () => {
  state.running?.abort();
  state.messages = [];
  save("messages", []);
  log.querySelectorAll(".turn").forEach((turn) => turn.remove());
  find("empty").hidden = false;
  status.textContent = "";
  prompt.focus();
});
find("temperature").addEventListener("input", (event) => { setTemperature(event.target.value); save("temperature", event.target.value); });
find("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
find("key-form").addEventListener("submit", () => { save("key", find("key").value.trim()); begin(); });

function begin() {
  loadModel().catch((error) => { find("model-name").textContent = "Not reachable"; showError(error); });
}

setTheme(load("theme", matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
if (load("temperature", null) !== null) setTemperature(load("temperature", 1));
state.messages.forEach(({ role, content }) => addTurn(role, content));
begin();
