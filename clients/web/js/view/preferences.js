// What this browser remembers between visits.

import { Sampling } from "../call/sampling.js";

const KEY = "moshi-cluster";
const CHOICES = {
  microphone: "",
  speaker: "",
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
  record: true,
  film: false,
  colours: true,
  theme: "system",
};
const THEMES = ["system", "light", "dark"];

export class Preferences {
  #storage;

  /** @param {Storage | null} storage null: nothing is remembered */
  constructor(storage) {
    this.#storage = storage;
    const stored = this.#load();
    this.sampling = new Sampling(stored.sampling);
    this.choices = cleanChoices(stored.choices);
  }

  save() {
    try {
      this.#storage?.setItem(KEY, JSON.stringify({ sampling: this.sampling.chosen, choices: this.choices }));
    } catch {
      // Full or forbidden: the page works without.
    }
  }

  #load() {
    try {
      return JSON.parse(this.#storage?.getItem(KEY) ?? "{}") ?? {};
    } catch {
      return {};
    }
  }
}

/** The browser's storage, where the page may use it. */
export function browserStorage() {
  try {
    return globalThis.localStorage ?? null;
  } catch {
    return null;
  }
}

function cleanChoices(stored) {
  const clean = Object.fromEntries(
    Object.entries(CHOICES).map(([name, initial]) => [name, typeof stored?.[name] === typeof initial ? stored[name] : initial]),
  );
  if (!THEMES.includes(clean.theme)) clean.theme = CHOICES.theme;
  return clean;
}
