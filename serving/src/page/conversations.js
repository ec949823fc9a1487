// Conversations as this browser keeps them. Turns are a tree, so that an edit or another try loses nothing: each turn names the one before
// it, and `shown` is the last turn of the branch that is on the page.

import { isSampling } from "./sampling.js";
import { kept, readKept } from "./storage.js";

const PREFIX = "cupola.chat.";
const FORMAT = "cupola-chat-1";
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");

/** What a conversation without a name is called. */
export const UNNAMED = "New chat";

export function newChat(settings = {}) {
  return { id: newId(), title: UNNAMED, created: Date.now(), updated: Date.now(), settings, turns: [], shown: null };
}

// --- storage -----------------------------------------------------------------------------------------------------------------

/** All conversations, the newest first. */
export function storedChats() {
  const chats = [];
  for (let place = 0; place < kept.length; place += 1) {
    const name = kept.key(place);
    const chat = chatOfEntry(name);
    if (chat) chats.push(chat);
  }
  return chats.sort((one, other) => other.updated - one.updated);
}

export const storedChat = (id) => readKept(PREFIX + id, null);

/** The conversation that an entry of the storage is. */
export const chatOfEntry = (name) => (name?.startsWith(PREFIX) ? storedChat(name.slice(PREFIX.length)) : null);

/** Throws where the browser has no room left. */
export function storeChat(chat) {
  kept.setItem(PREFIX + chat.id, JSON.stringify(chat));
}

export function removeChat(id) {
  kept.removeItem(PREFIX + id);
}

// --- turns -------------------------------------------------------------------------------------------------------------------

const turnOf = (chat, id) => chat.turns.find((turn) => turn.id === id) ?? null;

/** The turns on the page, from the first to the last. */
export function shownTurns(chat) {
  const turns = [];
  for (let turn = turnOf(chat, chat.shown); turn; turn = turnOf(chat, turn.parent)) turns.unshift(turn);
  return turns;
}

/** Puts a turn behind another, or at the beginning, and shows it. */
export function addTurn(chat, parent, fields) {
  const turn = { id: newId(), parent, ...fields };
  chat.turns.push(turn);
  chat.shown = turn.id;
  remember(chat);
  chat.updated = Date.now();
  if (chat.title === UNNAMED && turn.role === "user") chat.title = titleOf(turn.content);
  return turn;
}

export function dropTurn(chat, turn) {
  chat.turns = chat.turns.filter((other) => other !== turn);
  chat.shown = turn.parent;
}

/** A turn and the others that were tried in its place. */
export function versionsOf(chat, turn) {
  return chat.turns.filter((other) => other.parent === turn.parent);
}

/** Shows a version of a turn, with what followed on it when it was last seen. */
export function showVersion(chat, turn) {
  let last = turn;
  for (let next = last; next; next = lastSeen(versionsOf(chat, { parent: last.id }))) last = next;
  chat.shown = last.id;
  remember(chat);
}

const lastSeen = (turns) => turns.reduce((best, turn) => (!best || turn.seen >= best.seen ? turn : best), null);

/** Numbers what is shown, later than all that was shown before. */
function remember(chat) {
  const now = Math.max(0, ...chat.turns.map((turn) => turn.seen ?? 0)) + 1;
  shownTurns(chat).forEach((turn) => { turn.seen = now; });
}

/** Takes over what another tab did in the same conversation, so that storing this one loses nothing; says whether there was anything. */
export function takeTurns(chat, other) {
  let isChanged = false;
  for (const turn of other.turns) {
    const own = turnOf(chat, turn.id);
    if (own && own.content.length >= turn.content.length) continue;
    if (own) Object.assign(own, turn); // an answer that grows there
    else chat.turns.push(turn);
    isChanged = true;
  }
  chat.title = other.title;
  chat.updated = Math.max(chat.updated, other.updated);
  return isChanged;
}

function titleOf(text) {
  const line = text.trim().split("\n")[0];
  return line.length > 60 ? `${line.slice(0, 57).trimEnd()}…` : line;
}

// --- sharing -----------------------------------------------------------------------------------------------------------------

/** What is shown, as a file: settings, and the turns as messages with what was measured. */
export function sharedText(chat) {
  const messages = shownTurns(chat).map(({ role, content, model, measure }) => ({ role, content, ...(model ? { model } : {}), ...(measure ? { measure } : {}) }));
  const { title, created, settings } = chat;
  return `${JSON.stringify({ format: FORMAT, title, created: new Date(created).toISOString(), settings, messages }, null, 2)}\n`;
}

/** A conversation of a shared file's text. Throws with what is wrong with it. */
export function chatOfShared(text) {
  const refuse = (what) => { throw new Error(`This is no shared conversation: ${what}.`); };
  let file;
  try { file = JSON.parse(text); } catch { refuse("the file is not JSON"); }
  if (file?.format !== FORMAT) refuse(`"format" is not "${FORMAT}"`);
  if (typeof file.title !== "string" || !file.title.trim()) refuse('"title" is no text');
  if (Number.isNaN(Date.parse(file.created))) refuse('"created" is no time');
  if (!isSampling(file.settings)) refuse('"settings" holds something else than settings');
  if (!Array.isArray(file.messages)) refuse('"messages" is no list');
  const chat = { ...newChat(file.settings), created: Date.parse(file.created) };
  file.messages.forEach((message, place) => {
    const isTurn = ["user", "assistant"].includes(message?.role) && typeof message.content === "string";
    if (!isTurn) refuse(`message ${place + 1} is no text of a user or an assistant`);
    const { role, content, model, measure } = message;
    if (model !== undefined && typeof model !== "string") refuse(`the model of message ${place + 1} is no text`);
    if (measure !== undefined && !isMeasure(measure)) refuse(`the measure of message ${place + 1} is none`);
    addTurn(chat, chat.shown, { role, content, ...(model ? { model } : {}), ...(measure ? { measure } : {}) });
  });
  return { ...chat, title: file.title };
}

function isMeasure(measure) {
  const names = ["tokens", "promptTokens", "firstMs", "tokensPerSec"];
  const isNumber = (value) => value === null || Number.isFinite(value);
  return typeof measure === "object" && measure !== null && (measure.finish === null || typeof measure.finish === "string")
    && Object.entries(measure).every(([name, value]) => name === "finish" || (names.includes(name) && isNumber(value)))
    && names.every((name) => name in measure);
}
