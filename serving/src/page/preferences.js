// Which of two answers was better, as this browser keeps it, and as lines of the pairs that `kind: rlhf` trains on.

import { kept, readKept } from "./storage.js";

const NAME = "cupola.preferences";

export const storedPreferences = () => readKept(NAME, []);

/** Throws where the browser has no room left. */
export function storePreferences(preferences) {
  kept.setItem(NAME, JSON.stringify(preferences));
}

/** Whether a preference can be a pair: of two different answers one is better, and no system prompt, which a pair has no place for. */
export function isPair({ better, sides }) {
  return better !== null && sides[0].text !== sides[1].text && sides.every((side) => !side.settings.system);
}

/** JSON lines of `{prompt, chosen, rejected, labeler, votes}`. */
export function pairLines(preferences) {
  const pair = ({ prompt, better, sides }) => ({ prompt, chosen: sides[better].text, rejected: sides[1 - better].text, labeler: "human", votes: [1, 0] });
  return preferences.filter(isPair).map((preference) => `${JSON.stringify(pair(preference))}\n`).join("");
}

/** A tally by what the sides were, such as `aligned 7 · base 5 · equally good 2`. */
export function tallyText(preferences) {
  const counts = new Map();
  for (const { better, sides } of preferences) {
    const name = better === null ? "equally good" : sides[better].name;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return [...counts].map(([name, count]) => `${name} ${count}`).join(" · ");
}
