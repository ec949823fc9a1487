// The chat page: one conversation on the page, the others in the list.

import { showChats } from "./chat_list.js";
import { addTurn, chatOfEntry, chatOfShared, dropTurn, newChat, removeChat, sharedText, showVersion, shownTurns, storeChat, storedChat, storedChats, takeTurns, versionsOf } from "./conversations.js";
import { announce, loadModels, modelFacts, showError, showModel } from "./frame.js";
import { find, saveFile } from "./make.js";
import { SamplingPanel, requestOf } from "./sampling.js";
import { isLasting, kept, ofTab } from "./storage.js";
import { measureOf, streamAnswer } from "./stream.js";
import { TurnView, fit, isSendKey } from "./turns.js";

const log = find("log"), prompt = find("prompt"), picker = find("model");
/** How often an answer that grows is stored, so that a reload loses little of it. */
const STORE_EVERY_MS = 1000;

const state = { chat: null, models: [], running: null, views: [] };
const sampling = new SamplingPanel(find("sampling"), "chat", settingsChanged);
const actions = { isFree, edited, again, version };

// --- the conversation on the page --------------------------------------------------------------------------------------------

function store(chat = state.chat) {
  try {
    if (chat.turns.length) storeChat(chat);
  } catch {
    showError(find("problem"), { status: 200, message: "This browser has no room left for conversations: delete some. This one lasts until the page is closed.", waitMs: null });
  }
}

function openChat(chat) {
  state.running?.abort();
  state.chat = chat;
  ofTab.setItem("cupola.open", chat.id);
  sampling.write(chat.settings);
  find("problem").replaceChildren();
  showTurns();
  listChats();
}

function showTurns() {
  const turns = shownTurns(state.chat);
  state.views = turns.map((turn) => new TurnView(turn, versionsOf(state.chat, turn), actions));
  find("turns").replaceChildren(...state.views.map((view) => view.element));
  find("empty").hidden = turns.length > 0;
  find("title").textContent = state.chat.title;
  document.title = `${state.chat.title} · Cupola`;
  showUsage(turns.at(-1)?.measure);
  log.scrollTop = log.scrollHeight;
}

function listChats() {
  const stored = storedChats();
  const chats = stored.some((chat) => chat.id === state.chat.id) ? stored : [state.chat, ...stored];
  showChats(chats, state.chat.id, {
    open: (chat) => { openChat(storedChat(chat.id) ?? chat); closeDrawers(); prompt.focus(); },
    rename: (chat, title) => {
      state.chat.title = title;
      store();
      listChats();
      find("chat-list").querySelector("[aria-current]")?.focus();
    },
    share: (chat) => saveFile(`${fileName(chat.title)}.json`, "application/json", sharedText(state.chat)),
    remove: (chat) => {
      state.running?.abort();
      removeChat(chat.id);
      openChat(storedChats()[0] ?? newChat(sampling.read()));
      announce("The conversation is deleted.");
      find("new-chat").focus();
    },
  });
}

const fileName = (title) => title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 60) || "chat";

function showUsage(measure) {
  const model = state.models.find((one) => one.id === picker.value);
  const used = (measure?.promptTokens ?? 0) + (measure?.tokens ?? 0);
  find("usage").textContent = used && model ? `${used} of ${model.max_model_len} tokens of context` : "";
}

function settingsChanged() {
  state.chat.settings = sampling.read();
  store();
}

// --- answers -----------------------------------------------------------------------------------------------------------------

/** Has the model answer what is shown, whose last turn is a user's. */
async function answer() {
  const chat = state.chat;
  find("problem").replaceChildren();
  const abort = new AbortController();
  setRunning(abort);
  const messages = shownTurns(chat).map(({ role, content }) => ({ role, content }));
  const request = requestOf(picker.value, sampling.read(), messages);
  const turn = addTurn(chat, chat.shown, { role: "assistant", content: "", model: picker.value, measure: null });
  showTurns();
  const view = state.views.at(-1);
  view.setLive(true);
  let frame = 0, storedAt = performance.now();
  const paint = () => { frame = 0; keepInSight(() => { view.show(turn.content); view.showMeasure({ ...turn.measure, finish: null }); }); };
  const went = await streamAnswer(request, abort.signal, (soFar) => {
    turn.content = soFar.text;
    turn.measure = { ...measureOf(soFar), finish: "stopped" }; // what a reload finds
    frame ||= requestAnimationFrame(paint);
    if (performance.now() - storedAt > STORE_EVERY_MS) { storedAt = performance.now(); if (state.chat === chat) store(); }
  });
  cancelAnimationFrame(frame);
  turn.content = went.text;
  turn.measure = measureOf(went);
  const isEmpty = !went.text && ["stopped", "failed"].includes(went.finish);
  if (isEmpty) dropTurn(chat, turn);
  if (state.running === abort) setRunning(null);
  if (state.chat === chat) finish(view, went, isEmpty);
  else if (storedChat(chat.id)) store(chat); // another one was opened meanwhile
}

function finish(view, went, isEmpty) {
  const { turn } = view;
  store();
  listChats();
  keepInSight(() => {
    if (isEmpty) { showTurns(); return; }
    view.show(turn.content);
    view.showMeasure(turn.measure);
    view.showTools(versionsOf(state.chat, turn));
    view.setLive(false);
    showUsage(turn.measure);
  });
  if (!went.error) { announce(went.text ? `${turn.model}: ${view.text.textContent}` : "There is no answer."); return; }
  showError(find("problem"), went.error, () => answerAgain(turn));
  log.scrollTop = log.scrollHeight;
  if (went.error.code === "model_not_found") begin();
}

/** Whether an answer can be asked for; a setting that the server would refuse is shown. */
function isFree() {
  const wrong = sampling.wrong();
  if (state.running || picker.disabled) return false;
  if (wrong) { openDrawer("settings"); wrong.reportValidity(); }
  return !wrong;
}

/** After an error: the part that came stays as a version. */
function answerAgain(turn) {
  if (!isFree()) return;
  if (state.chat.turns.includes(turn)) state.chat.shown = turn.parent;
  answer();
}

/** Another answer in an assistant's place, or to a user's turn. */
function again(turn, asked) {
  if (!isFree()) return;
  state.chat.shown = turn ? turn.parent : asked.id;
  answer();
}

function edited(turn, content) {
  addTurn(state.chat, turn.parent, { role: "user", content });
  store();
  answer();
}

function version(turn, by) {
  if (state.running) return;
  showVersion(state.chat, turn);
  store();
  showTurns();
  const view = state.views.find((one) => one.turn === turn);
  view.element.scrollIntoView({ block: "nearest" });
  const steps = [...view.element.querySelectorAll(".step:not(:disabled)")];
  (steps.find((step) => Number(step.dataset.tool) === by) ?? steps[0]).focus();
}

function send() {
  const content = prompt.value.trim();
  if (!content || !isFree()) return;
  prompt.value = "";
  fit(prompt);
  addTurn(state.chat, state.chat.shown, { role: "user", content });
  store();
  listChats();
  answer();
}

function setRunning(abort) {
  state.running = abort;
  const hadFocus = [find("stop"), find("send")].includes(document.activeElement);
  find("send").hidden = abort !== null;
  find("stop").hidden = abort === null;
  if (abort) announce("The model is answering.");
  if (hadFocus) prompt.focus({ preventScroll: true });
}

/** Follows what grows, but not when the reader has scrolled up. */
function keepInSight(change) {
  const isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80;
  change();
  if (isAtEnd) log.scrollTop = log.scrollHeight;
}

// --- drawers -----------------------------------------------------------------------------------------------------------------

const isNarrow = matchMedia("(max-width: 860px)");

/** On a narrow page a drawer lies over the rest, which is out of reach then. */
function openDrawer(name) {
  closeDrawers();
  find(name).hidden = false;
  find(name).classList.add("is-open");
  find(`open-${name}`).setAttribute("aria-expanded", "true");
  if (isNarrow.matches) {
    document.querySelectorAll(".column, .top, .drawer").forEach((part) => { part.inert = part !== find(name); });
    find(name).querySelector("button, textarea").focus();
  }
}

function closeDrawers() {
  const open = document.querySelector(".drawer.is-open");
  document.querySelectorAll("[inert]").forEach((part) => { part.inert = false; });
  if (!open) return;
  const hadFocus = open.contains(document.activeElement);
  open.classList.remove("is-open");
  find("settings").hidden = true;
  find(`open-${open.id}`).setAttribute("aria-expanded", "false");
  if (hadFocus) find(`open-${open.id}`).focus();
}

// --- wiring ------------------------------------------------------------------------------------------------------------------

find("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
find("stop").addEventListener("click", () => state.running?.abort());
find("new-chat").addEventListener("click", () => { openChat(newChat(sampling.read())); closeDrawers(); prompt.focus(); });
find("about").addEventListener("click", () => {
  const model = state.models.find((one) => one.id === picker.value);
  if (model) showModel(model);
});
find("import").addEventListener("click", () => find("import-file").click());
find("import-file").addEventListener("change", async (event) => {
  const [file] = event.target.files;
  event.target.value = "";
  closeDrawers();
  try {
    openChat(chatOfShared(await file.text()));
    store();
    listChats();
    announce("The conversation is opened.");
  } catch (error) {
    showError(find("problem"), { status: 200, message: error.message, waitMs: null });
  }
});
for (const name of ["chats", "settings"]) {
  find(`open-${name}`).addEventListener("click", () => (find(name).classList.contains("is-open") ? closeDrawers() : openDrawer(name)));
}
find("close-settings").addEventListener("click", closeDrawers);
isNarrow.addEventListener("change", closeDrawers);
prompt.addEventListener("input", () => fit(prompt));
prompt.addEventListener("keydown", (event) => {
  if (isSendKey(event)) { event.preventDefault(); send(); }
  if (event.key === "ArrowUp" && prompt.value === "" && !state.running) {
    const last = state.views.findLast((view) => view.turn.role === "user");
    if (last) { event.preventDefault(); last.edit(); }
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]")) return;
  if (state.running) state.running.abort();
  else closeDrawers();
});
document.addEventListener("click", (event) => {
  if (isNarrow.matches && !event.target.closest(".drawer, .top, dialog") && document.querySelector(".drawer.is-open")) closeDrawers();
});
picker.addEventListener("change", () => { kept.setItem("cupola.model", picker.value); showPicked(); });
addEventListener("pagehide", () => {
  if (!state.running) return;
  store();
  state.running.abort();
});
addEventListener("storage", (event) => {
  const other = event.key === null ? null : chatOfEntry(event.key);
  if (other?.id === state.chat.id && takeTurns(state.chat, other) && !state.running) {
    state.chat.shown = other.shown;
    showTurns();
  }
  listChats();
});

function showPicked() {
  const model = state.models.find((one) => one.id === picker.value);
  sampling.showDefaults(model);
  find("model-facts").textContent = model ? modelFacts(model) : "";
  showUsage(shownTurns(state.chat).at(-1)?.measure);
}

async function begin() {
  try {
    state.models = await loadModels({ select: picker, wanted: kept.getItem("cupola.model") });
    showPicked();
  } catch (error) {
    showError(find("problem"), error, begin);
  }
}

openChat(storedChat(ofTab.getItem("cupola.open")) ?? storedChats()[0] ?? newChat());
begin();
if (!isLasting) find("model-facts").after("This browser keeps nothing: conversations last until the page is closed.");
if (!isNarrow.matches) prompt.focus();
