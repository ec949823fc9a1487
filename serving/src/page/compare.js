// The compare page: one prompt to two models, or to one with two settings; which answer was better is kept.

import { announce, loadModels, showError } from "./frame.js";
import { copyText, find, saveFile } from "./make.js";
import { MarkdownView } from "./markdown.js";
import { isPair, pairLines, storePreferences, storedPreferences, tallyText } from "./preferences.js";
import { SamplingPanel, isSampling, requestOf } from "./sampling.js";
import { kept, readKept } from "./storage.js";
import { measureOf, measureText, streamAnswer } from "./stream.js";
import { fit, isSendKey } from "./turns.js";

const CHOICES = "cupola.compare";
const prompt = find("prompt");
const chosen = storedChoices();
/** What A and B are set to, and the two columns that answers stand in. */
const setups = ["a", "b"].map((name) => ({ select: find(`model-${name}`), sampling: new SamplingPanel(find(`sampling-${name}`), name, storeChoices) }));
const columns = ["left", "right"].map((name) => {
  const element = find(name);
  const part = (selector) => element.querySelector(selector);
  return { element, name: part(".name"), text: part(".text"), measure: part(".measure"), problem: part(".problem-place"), view: new MarkdownView(part(".text")) };
});
const state = { models: [], running: null, preference: null };

function storedChoices() {
  const none = { models: [null, null], settings: [{}, {}] };
  const stored = readKept(CHOICES, none);
  return stored.settings.every(isSampling) ? stored : none;
}

function storeChoices() {
  kept.setItem(CHOICES, JSON.stringify({ models: setups.map(({ select }) => select.value), settings: setups.map(({ sampling }) => sampling.read()) }));
}

// --- answers -----------------------------------------------------------------------------------------------------------------

/** What a side is, in words that tell the two apart. */
function sideNames(sides) {
  const names = sides.map(({ model, settings }) => {
    const set = Object.entries(settings).map(([name, value]) => (name === "system" ? "system prompt" : `${name.replaceAll("_", " ")} ${[value].flat().join(", ")}`));
    return [model, ...set].join(" · ");
  });
  return names[0] === names[1] ? names.map((name, place) => `${name} (${"AB"[place]})`) : names;
}

async function send() {
  const content = prompt.value.trim();
  if (!content || state.running || setups[0].select.disabled) return;
  const wrong = setups.map(({ sampling }) => sampling.wrong()).find(Boolean);
  if (wrong) { wrong.closest("details").open = true; wrong.reportValidity(); return; }
  const sides = setups.map(({ select, sampling }) => ({ model: select.value, settings: sampling.read(), text: "" }));
  sideNames(sides).forEach((name, place) => { sides[place].name = name; });
  const isBlind = find("blind").checked;
  if (isBlind && crypto.getRandomValues(new Uint8Array(1))[0] % 2) sides.reverse();
  state.preference = { prompt: content, isBlind, better: undefined, sides, at: Date.now() };
  prompt.value = "";
  fit(prompt);
  begin(content);
  await ask([0, 1]);
}

function begin(content) {
  find("empty").hidden = true;
  find("asked").hidden = false;
  find("asked").querySelector(".text").textContent = content;
  document.querySelector(".answers").hidden = false;
  columns.forEach((column) => { column.view.show(""); column.measure.textContent = ""; column.problem.replaceChildren(); });
  showNames();
  showVerdict();
}

/** Asks the sides of these places, both at the same time. */
async function ask(places) {
  const abort = new AbortController();
  setRunning(abort);
  await Promise.all(places.map((place) => answer(state.preference, place, abort.signal)));
  setRunning(null);
  showVerdict();
  const isWhole = !find("verdict").hidden;
  announce(isWhole ? `Left: ${columns[0].text.textContent} Right: ${columns[1].text.textContent} Which is better?` : "An answer is missing.");
}

async function answer(preference, place, signal) {
  const column = columns[place], side = preference.sides[place];
  let frame = 0;
  const paint = () => { frame = 0; column.view.show(side.text); };
  column.element.classList.add("live");
  column.element.setAttribute("aria-busy", "true");
  const went = await streamAnswer(requestOf(side.model, side.settings, [{ role: "user", content: preference.prompt }]), signal, ({ text }) => {
    side.text = text;
    frame ||= requestAnimationFrame(paint);
  });
  cancelAnimationFrame(frame);
  column.element.classList.remove("live");
  column.element.setAttribute("aria-busy", "false");
  Object.assign(side, { text: went.text, measure: measureOf(went) });
  paint();
  showNames();
  if (went.error) showError(column.problem, went.error, () => { if (!state.running) ask([place]); });
}

/** Names and speeds stay hidden from a blind choice: each would tell which side it is. */
function showNames() {
  const { isBlind, better, sides } = state.preference;
  columns.forEach((column, place) => {
    const isHidden = isBlind && better === undefined;
    column.name.textContent = isHidden ? ["Left", "Right"][place] : sides[place].name;
    column.measure.textContent = isHidden || !sides[place].measure ? "" : measureText(sides[place].measure);
  });
}

function setRunning(abort) {
  state.running = abort;
  const hadFocus = [find("stop"), find("send")].includes(document.activeElement);
  find("send").hidden = abort !== null;
  find("stop").hidden = abort === null;
  if (abort) announce("Both are answering.");
  if (hadFocus) prompt.focus({ preventScroll: true });
}

// --- the choice --------------------------------------------------------------------------------------------------------------

/** There is a choice once both answers ended by themselves or at their limit. */
function showVerdict() {
  const { sides, better } = state.preference;
  const isWhole = sides.every((side) => ["stop", "length"].includes(side.measure?.finish));
  find("verdict").hidden = !isWhole || state.running !== null;
  for (const button of find("verdict").children) {
    button.setAttribute("aria-pressed", String(better !== undefined && button.dataset.better === String(better ?? "none")));
  }
}

function choose(better) {
  const others = storedPreferences().filter((one) => one.at !== state.preference.at);
  state.preference.better = better;
  try {
    storePreferences([...others, state.preference]);
  } catch {
    showError(find("problem"), { status: 200, message: "This browser has no room left: save the pairs and delete them. This choice is not kept.", waitMs: null });
  }
  showNames();
  showVerdict();
  showTally();
  announce(better === null ? "Kept: equally good." : `Kept: ${state.preference.sides[better].name} is better.`);
}

function showTally() {
  const all = storedPreferences();
  const left = all.filter((one) => !isPair(one)).length;
  const notes = left ? ` (${left} of ${all.length} can be no pair: equally good, the same, or under a system prompt)` : "";
  find("tally").textContent = all.length ? `${tallyText(all)}${notes}` : "";
  find("export").hidden = all.length === left;
  find("forget").hidden = all.length === 0;
}

// --- wiring ------------------------------------------------------------------------------------------------------------------

find("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
find("stop").addEventListener("click", () => state.running?.abort());
prompt.addEventListener("input", () => fit(prompt));
prompt.addEventListener("keydown", (event) => {
  if (isSendKey(event)) { event.preventDefault(); send(); }
  if (event.key === "ArrowUp" && prompt.value === "" && state.preference && !state.running) {
    event.preventDefault();
    prompt.value = state.preference.prompt;
    fit(prompt);
  }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") state.running?.abort(); });
find("verdict").addEventListener("click", (event) => {
  const better = event.target.closest("[data-better]")?.dataset.better;
  if (better !== undefined) choose(better === "none" ? null : Number(better));
});
document.querySelector(".answers").addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  const block = copy?.closest(".code").querySelector("pre > code");
  if (block) copyText(copy, block.textContent, block);
});
find("export").addEventListener("click", () => saveFile("pairs.jsonl", "application/jsonl", pairLines(storedPreferences())));
find("forget").addEventListener("click", (event) => {
  const button = event.target;
  if (!button.dataset.armed) {
    button.dataset.armed = "true";
    button.textContent = "Delete all choices for good?";
    return;
  }
  storePreferences([]);
  showTally();
  prompt.focus();
});
find("forget").addEventListener("blur", ({ target }) => { delete target.dataset.armed; target.textContent = "Delete"; });
setups.forEach(({ select, sampling }) => select.addEventListener("change", () => { showDefaults(select, sampling); storeChoices(); }));

function showDefaults(select, sampling) {
  sampling.showDefaults(state.models.find((model) => model.id === select.value));
}

async function start() {
  try {
    state.models = await loadModels(...setups.map(({ select }, place) => ({ select, wanted: chosen.models[place] })));
    if (chosen.models[1] === null && state.models.length > 1) setups[1].select.value = state.models[1].id;
    setups.forEach(({ select, sampling }) => showDefaults(select, sampling));
  } catch (error) {
    showError(find("problem"), error, start);
  }
}

setups.forEach(({ sampling }, place) => sampling.write(chosen.settings[place]));
showTally();
start();
