// How the model draws its tokens: what a person has chosen about it; all the rest is the checkpoint's own.

/**
 * @typedef {{name: string, label: string, hint: string, rest: number, min: number, max: number, step: number}} Parameter
 *   `rest`: where its slider stands while nobody has said what the checkpoint brings along
 * @type {Parameter[]}
 */
export const PARAMETERS = [
  parameter("text_temperature", "Text temperature", "How freely words are chosen; 0: not at all", 0.7, 0, 2, 0.01),
  parameter("text_topk", "Text top-k", "Choose among this many words", 25, 1, 500, 1),
  parameter("audio_temperature", "Audio temperature", "How freely the voice varies; 0: not at all", 0.8, 0, 2, 0.01),
  parameter("audio_topk", "Audio top-k", "Choose among this many sounds", 250, 1, 500, 1),
  parameter("pad_mult", "Padding multiplier", "Above zero Moshi speaks less, below more", 0, -4, 4, 0.05),
  parameter("repetition_penalty", "Repetition penalty", "Above one Moshi avoids its recent words", 1, 1, 2, 0.01),
  parameter("repetition_penalty_context", "Repetition context", "Words that count as recent", 64, 0, 200, 1),
];

const BY_NAME = new Map(PARAMETERS.map((each) => [each.name, each]));
const PENALTY = ["repetition_penalty", "repetition_penalty_context"]; // servers take both or none
const TEMPERATURES = ["text_temperature", "audio_temperature"];
const OWN = "checkpoint's own";
const SEED_MAX = 1_000_000;

export class Sampling {
  #chosen;
  #own = {}; // as the server last told

  /** @param {object} [stored] what was chosen another day; what makes no sense of it is left out */
  constructor(stored) {
    this.#chosen = cleanChoices(stored);
  }

  /** What a person has chosen, and nothing else. @returns {Record<string, number>} */
  get chosen() {
    return { ...this.#chosen };
  }

  choose(name, value) {
    this.#chosen[name] = value;
    if (!PENALTY.includes(name)) return;
    for (const other of PENALTY) this.#chosen[other] ??= this.valueOf(other);
  }

  /** Everything is the checkpoint's own again. */
  reset() {
    this.#chosen = {};
  }

  /** Where the slider stands. */
  valueOf(name) {
    return this.#chosen[name] ?? this.#own[name] ?? BY_NAME.get(name).rest;
  }

  isChosen(name) {
    return name in this.#chosen;
  }

  /** The value in words. */
  describe(name) {
    const value = this.#chosen[name] ?? this.#own[name];
    if (value === undefined) return OWN;
    const number = value === 0 && TEMPERATURES.includes(name) ? "0 (greedy)" : String(Number(value.toFixed(4)));
    return this.isChosen(name) ? number : `${number}, ${OWN}`;
  }

  /**
   * What the server says is in use: the checkpoint's own wherever the conversation was not asked for something else.
   * @param {object} metadata @param {Record<string, number>} asked what the conversation was asked for
   */
  noteInUse(metadata, asked) {
    for (const { name } of PARAMETERS) {
      if (Number.isFinite(metadata[name]) && !(name in asked)) this.#own[name] = metadata[name];
    }
  }
}

/** Two new random seeds. @returns {{text_seed: number, audio_seed: number}} */
export function randomSeeds(random = Math.random) {
  const draw = () => Math.floor(random() * (SEED_MAX + 1));
  return { text_seed: draw(), audio_seed: draw() };
}

/** A seed in range, or the given other one. */
export function cleanSeed(value, otherwise) {
  const seed = Number(value);
  return Number.isInteger(seed) && seed >= 0 && seed <= SEED_MAX && value !== "" ? seed : otherwise;
}

function cleanChoices(stored) {
  const known = Object.entries(stored ?? {}).filter(([name, value]) => BY_NAME.has(name) && Number.isFinite(value));
  const choices = Object.fromEntries(
    known.map(([name, value]) => [name, Math.min(BY_NAME.get(name).max, Math.max(BY_NAME.get(name).min, value))]),
  );
  if (!PENALTY.every((name) => name in choices)) for (const name of PENALTY) delete choices[name];
  return choices;
}

function parameter(name, label, hint, rest, min, max, step) {
  return { name, label, hint, rest, min, max, step };
}
