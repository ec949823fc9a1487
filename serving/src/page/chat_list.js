// The list of conversations: open, rename, share, delete.

import { find, make } from "./make.js";

/** Fills the list. `actions` are called with a conversation: open, rename (and its new title), share, remove. */
export function showChats(chats, current, actions) {
  find("chat-list").replaceChildren(...chats.map((chat) => item(chat, chat.id === current, actions)));
}

function item(chat, isCurrent, actions) {
  const open = make("button", { type: "button", class: "open", title: chat.title, ...(isCurrent ? { "aria-current": "true" } : {}) }, chat.title);
  open.addEventListener("click", () => actions.open(chat));
  const element = make("li", isCurrent ? { class: "current" } : {}, open);
  if (!isCurrent || !chat.turns.length) return element;
  const tool = (label, act) => {
    const button = make("button", { type: "button", class: "plain" }, label);
    button.addEventListener("click", () => act(button));
    return button;
  };
  element.append(make("div", { class: "tools" },
    tool("Rename", () => rename(chat, open, actions)),
    tool("Share", () => actions.share(chat)),
    tool("Delete", (button) => removeAtSecondPress(chat, button, actions))));
  return element;
}

function rename(chat, open, actions) {
  const field = make("input", { type: "text", value: chat.title, "aria-label": "Name of the conversation", maxlength: "120" });
  let isOver = false;
  const end = (title) => {
    if (isOver) return;
    isOver = true;
    actions.rename(chat, title.trim() || chat.title);
  };
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter") end(field.value);
    if (event.key === "Escape") { event.stopPropagation(); end(chat.title); }
  });
  field.addEventListener("blur", () => end(field.value));
  open.replaceWith(field);
  field.focus();
  field.select();
}

function removeAtSecondPress(chat, button, actions) {
  if (button.dataset.armed) { actions.remove(chat); return; }
  button.dataset.armed = "true";
  button.textContent = "Delete for good?";
  button.addEventListener("blur", () => { delete button.dataset.armed; button.textContent = "Delete"; }, { once: true });
}
