// Where the pages keep what is theirs: in this browser, and in this tab. A browser that allows neither keeps it until the page is closed.

class Memory {
  #items = new Map();
  get length() { return this.#items.size; }
  key(place) { return [...this.#items.keys()][place] ?? null; }
  getItem(name) { return this.#items.get(name) ?? null; }
  setItem(name, value) { this.#items.set(name, value); }
  removeItem(name) { this.#items.delete(name); }
}

function open(kind) {
  try {
    return window[kind] ?? new Memory();
  } catch {
    return new Memory();
  }
}

/** What outlives a reload and the tab. */
export const kept = open("localStorage");
/** What outlives a reload alone. */
export const ofTab = open("sessionStorage");
/** Whether a reload finds what is kept. */
export const isLasting = !(kept instanceof Memory);

/** A value of ours, or what stands for it where there is none or it can't be read. */
export function readKept(name, otherwise) {
  try {
    return JSON.parse(kept.getItem(name)) ?? otherwise;
  } catch {
    return otherwise;
  }
}
