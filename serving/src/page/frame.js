// What both pages have around their answers: the models, the key, errors, and what a screen reader is told.

import { find, make } from "./make.js";
import { key, servedModels } from "./stream.js";

/** Says a text to screen readers: once for an answer, never for each of its tokens. */
export function announce(text) {
  find("announcer").textContent = text;
}

// --- models ------------------------------------------------------------------------------------------------------------------

const count = new Intl.NumberFormat("en", { maximumSignificantDigits: 3, notation: "compact" });

/** A model's size and context in words. */
export function modelFacts(model) {
  const size = model.parameters ? `${count.format(model.parameters).replace(/([KMBT])$/, " $1")} parameters` : "";
  return [size, model.max_model_len ? `context of ${model.max_model_len} tokens` : ""].filter(Boolean).join(" · ");
}

/** Fills selects with what is served, each with the model that it had where that still is, and gives the models. */
export async function loadModels(...pickers) {
  const models = await servedModels();
  for (const { select, wanted } of pickers) {
    const before = select.disabled ? wanted : select.value;
    select.replaceChildren(...models.map((model) => make("option", { value: model.id }, model.id)));
    select.value = models.some((model) => model.id === before) ? before : (models[0]?.id ?? "");
    select.disabled = false;
  }
  return models;
}

function factRows(value, name) {
  if (value === null || value === undefined) return [];
  if (typeof value === "object") return Object.entries(value).flatMap(([inner, part]) => factRows(part, name ? `${name}, ${inner}` : inner));
  return [[name.replaceAll("_", " "), String(value)]];
}

/** Shows everything that the server says of a model: what it was made from first of all. */
export function showModel(model) {
  const { id, object: _, owned_by: __, created, fingerprint, lineage, parameters, max_model_len, ...facts } = model;
  const made = created ? `${new Date(created * 1000).toISOString().slice(0, 16).replace("T", " ")} UTC` : null;
  const first = { fingerprint: fingerprint || "none: the folder has no manifest", lineage, made, parameters, "context, tokens": max_model_len };
  const rows = factRows({ ...first, ...facts }, "");
  const list = make("dl", {}, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  const dialog = make("dialog", { "aria-labelledby": "about-title" }, make("h2", { id: "about-title" }, id), list,
    make("p", { class: "soft" }, "As ", make("a", { href: `/v1/models/${encodeURI(id)}` }, `/v1/models/${id}`), " says it. ",
      "The fingerprint is the hash of all that went into the model; the lineage names those of its inputs."));
  openDialog(dialog, [make("button", { type: "button", class: "quiet", "data-close": "" }, "Close")]);
}

function openDialog(dialog, buttons) {
  dialog.append(make("div", { class: "buttons" }, ...buttons));
  dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("[data-close]")) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// --- the key -----------------------------------------------------------------------------------------------------------------

/** Asks for the key and calls `then` once there is one. */
export function askForKey(message, then) {
  if (document.querySelector("#key-dialog")) return;
  const field = make("input", { id: "key", type: "password", autocomplete: "off", required: "", spellcheck: "false" });
  const form = make("form", { method: "dialog" },
    make("h2", { id: "key-title" }, "API key"),
    make("p", { class: "soft" }, message),
    make("label", { for: "key" }, "Key, kept for this tab only"), field,
    make("div", { class: "buttons" }, make("button", { type: "button", class: "quiet", "data-close": "" }, "Not now"), make("button", { type: "submit", class: "filled" }, "Use it")));
  const dialog = make("dialog", { id: "key-dialog", "aria-labelledby": "key-title" }, form);
  form.addEventListener("submit", () => { key.set(field.value.trim()); then(); });
  dialog.addEventListener("click", (event) => { if (event.target.closest("[data-close]")) dialog.close(); });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

// --- errors ------------------------------------------------------------------------------------------------------------------

const TITLES = { 0: "Not reachable", 400: "The server refused the request", 401: "A key is needed", 404: "Not there", 413: "Too long", 429: "Too much at once", 503: "Not now", 504: "It took too long" };

function waitText(millis) {
  const secs = Math.ceil(millis / 1000);
  return secs < 100 ? `${secs} s` : `${Math.ceil(secs / 60)} min`;
}

/** Shows what the server said in `place`, how long it asks to wait, and a button that tries again. */
export function showError(place, error, again) {
  const title = TITLES[error.status] ?? (error.status >= 500 ? "The server failed" : "It went wrong");
  const details = [error.status > 200 ? `HTTP ${error.status}` : "", error.code ?? "", error.param ? `about ${error.param}` : ""].filter(Boolean).join(" · ");
  const retry = make("button", { type: "button", class: "quiet" }, "Try again");
  const wait = make("span", { class: "soft wait" });
  const card = make("div", { class: "problem", role: "alert" }, make("h2", {}, title), make("p", {}, error.message), make("p", { class: "soft details" }, details));
  const until = error.waitMs === null ? 0 : performance.now() + error.waitMs;
  if (error.waitMs !== null) card.append(make("p", { class: "hidden" }, `The server asks to wait ${waitText(error.waitMs)}.`));
  place.replaceChildren(card);
  if (!again) return;
  // The countdown stands beside the alert, which is read out once.
  const row = make("div", { class: "buttons" }, retry, wait);
  place.append(row);
  const count = () => {
    const left = until - performance.now();
    retry.disabled = left > 0;
    wait.textContent = left > 0 ? `in ${waitText(left)}` : "";
    if (left > 0 && place.contains(row)) setTimeout(count, Math.min(left, 250) + 5);
  };
  count();
  retry.addEventListener("click", () => { place.replaceChildren(); again(); });
  if (error.status === 401) askForKey(key.get() ? error.message : "This server asks for a key.", () => { place.replaceChildren(); again(); });
}
