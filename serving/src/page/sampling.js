// How tokens are chosen, as a panel of fields. An empty field leaves it to the model, whose value stands in it faintly.

import { make } from "./make.js";

/** Name in the API, label, bounds, step, and what it does. */
const NUMBERS = [
  ["temperature", "Temperature", 0, 2, 0.05, "0 takes the likeliest token each time"],
  ["top_p", "Top p", 0, 1, 0.01, "the likeliest tokens that have this much together"],
  ["top_k", "Top k", 0, 1_000_000, 1, "as many of the likeliest tokens; 0 is all"],
  ["min_p", "Min p", 0, 1, 0.01, "none below this share of the likeliest token"],
  ["max_tokens", "Longest answer", 1, 10_000_000, 1, "tokens; empty is what the context has room for"],
  ["seed", "Seed", -9_000_000_000_000_000, 9_000_000_000_000_000, 1, "the same seed gives the same answer"],
  ["presence_penalty", "Presence penalty", -2, 2, 0.1, "against what has occurred at all"],
  ["frequency_penalty", "Frequency penalty", -2, 2, 0.1, "against it, each time it occurred"],
  ["repetition_penalty", "Repetition penalty", 0.01, 10, 0.05, "1 is none; counts the prompt too"],
];
/** What the server takes where a model says nothing. */
const SERVER_DEFAULTS = { min_p: 0, presence_penalty: 0, frequency_penalty: 0, seed: "random", max_tokens: "what fits" };
const MOST_STOPS = 4;

/** The fields of one panel; `name` keeps their ids apart from another panel's. */
export class SamplingPanel {
  constructor(element, name, changed) {
    this.fields = new Map();
    this.system = this.area(`${name}-system`, 3, "none");
    this.stop = this.area(`${name}-stop`, 2, "none");
    element.append(labelled("System prompt", this.system));
    const grid = make("div", { class: "fields" });
    for (const [field, label, min, max, step, hint] of NUMBERS) {
      const input = make("input", { id: `${name}-${field}`, type: "number", min, max, step: step === 1 ? 1 : "any", inputmode: step === 1 ? "numeric" : "decimal" });
      this.fields.set(field, input);
      grid.append(labelled(label, input, hint));
    }
    const reset = make("button", { type: "button", class: "quiet" }, "Back to the model's own");
    reset.addEventListener("click", () => { this.write({}); changed(); });
    element.append(grid, labelled("Stop texts", this.stop, `up to ${MOST_STOPS}, one a line; \\n is a line break`), reset);
    this.stop.addEventListener("input", () => this.check());
    element.addEventListener("change", changed);
  }

  area(id, rows, placeholder) {
    return make("textarea", { id, rows, placeholder });
  }

  check() {
    this.stop.setCustomValidity(this.stops().length > MOST_STOPS ? `At most ${MOST_STOPS} stop texts, one a line.` : "");
  }

  stops() {
    return this.stop.value.split("\n").filter((line) => line !== "").map((line) => line.replace(/\\(n|\\)/g, (_, mark) => (mark === "n" ? "\n" : "\\")));
  }

  /** The first field that holds what the server would refuse. */
  wrong() {
    this.check();
    return [...this.fields.values(), this.stop].find((field) => !field.checkValidity()) ?? null;
  }

  /** What is set: `system`, `stop` and numbers by the API's names. */
  read() {
    const set = {};
    if (this.system.value.trim()) set.system = this.system.value;
    for (const [field, input] of this.fields) if (input.value !== "" && input.checkValidity()) set[field] = Number(input.value);
    if (this.stops().length) set.stop = this.stops();
    return set;
  }

  write(set) {
    this.system.value = set.system ?? "";
    for (const [field, input] of this.fields) input.value = set[field] ?? "";
    this.stop.value = (set.stop ?? []).map((text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")).join("\n");
    this.check();
  }

  /** Shows what a model takes by itself. */
  showDefaults(model) {
    const own = { ...SERVER_DEFAULTS, ...model?.sampling_defaults };
    for (const [field, input] of this.fields) input.placeholder = own[field] ?? "";
  }
}

function labelled(text, field, hint) {
  const label = make("label", { for: field.id }, text);
  if (!hint) return make("div", { class: "field" }, label, field);
  field.setAttribute("aria-describedby", `${field.id}-hint`);
  return make("div", { class: "field" }, label, field, make("p", { id: `${field.id}-hint`, class: "hint" }, hint));
}

/** Whether a value is what `read` gives: files from elsewhere are looked at before they are taken. */
export function isSampling(set) {
  if (typeof set !== "object" || set === null || Array.isArray(set)) return false;
  return Object.entries(set).every(([name, value]) => {
    if (name === "system") return typeof value === "string";
    if (name === "stop") return Array.isArray(value) && value.length <= MOST_STOPS && value.every((text) => typeof text === "string" && text !== "");
    const bounds = NUMBERS.find(([field]) => field === name);
    return bounds !== undefined && Number.isFinite(value) && value >= bounds[2] && value <= bounds[3] && (bounds[4] < 1 || Number.isInteger(value));
  });
}

/** The request for an answer to messages under settings. */
export function requestOf(model, settings, messages) {
  const { system, ...sampling } = settings;
  return { model, messages: [...(system ? [{ role: "system", content: system }] : []), ...messages], ...sampling };
}
