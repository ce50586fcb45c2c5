// What can be chosen about a conversation, and how it travels: as query parameters of /api/chat.

/**
 * @typedef {{name: string, label: string, hint: string, initial: number, min: number, max: number, step: number}} Parameter
 * @type {Parameter[]}
 */
export const PARAMETERS = [
  parameter("text_temperature", "Text temperature", "How freely words are chosen", 0.7, 0.2, 1.2, 0.01),
  parameter("text_topk", "Text top-k", "Choose among this many words", 25, 10, 500, 1),
  parameter("audio_temperature", "Audio temperature", "How freely the voice varies", 0.8, 0.2, 1.2, 0.01),
  parameter("audio_topk", "Audio top-k", "Choose among this many sounds", 250, 10, 500, 1),
  parameter("pad_mult", "Padding multiplier", "Above zero Moshi speaks less, below more", 0, -4, 4, 0.05),
  parameter("repetition_penalty", "Repetition penalty", "Above one Moshi avoids its recent words", 1, 1, 2, 0.01),
  parameter("repetition_penalty_context", "Repetition penalty, last N", "Words that count as recent", 64, 0, 200, 1),
];

const PENALTY = ["repetition_penalty", "repetition_penalty_context"]; // one never without the other
const SEEDS = ["text_seed", "audio_seed"];
const SEED_MAX = 1_000_000;
const PASSED_ON = ["token", "worker_auth_id", "loopback"]; // from the page's address to the server's
const CHAT_PATH = "/api/chat";

/** @returns {Record<string, number>} */
export function initialParameters() {
  return Object.fromEntries(PARAMETERS.map(({ name, initial }) => [name, initial]));
}

/** Two new random seeds. @returns {{text_seed: number, audio_seed: number}} */
export function randomSeeds(random = Math.random) {
  const draw = () => Math.floor(random() * (SEED_MAX + 1));
  return { text_seed: draw(), audio_seed: draw() };
}

/** Values in range, whatever was stored; the initial one where a value makes no sense. */
export function cleanParameters(values) {
  return Object.fromEntries(
    PARAMETERS.map(({ name, initial, min, max }) => {
      const value = Number(values?.[name] ?? initial);
      return [name, Number.isFinite(value) ? Math.min(max, Math.max(min, value)) : initial];
    }),
  );
}

/** A seed in range, or the given other one. */
export function cleanSeed(value, otherwise) {
  const seed = Number(value);
  return Number.isInteger(seed) && seed >= 0 && seed <= SEED_MAX && value !== "" ? seed : otherwise;
}

/** What a person has changed. The rest is left to the model: a checkpoint brings its own values along. */
function chosen(values) {
  const changed = PARAMETERS.filter(({ name, initial }) => (values[name] ?? initial) !== initial).map(({ name }) => name);
  return PENALTY.some((name) => changed.includes(name)) ? [...new Set([...changed, ...PENALTY])] : changed;
}

/**
 * The address of the server.
 * @param {Location | URL} page where the page came from; its `worker_addr` names another host
 * @param {Record<string, number>} values parameters and seeds
 * @param {string | null} resume what the server gave to take up a lost conversation
 * @returns {string}
 */
export function chatUrl(page, values, resume = null) {
  const asked = new URLSearchParams(page.search);
  const url = new URL(`${page.protocol === "https:" ? "wss" : "ws"}://${asked.get("worker_addr") ?? page.host}${CHAT_PATH}`);
  for (const name of [...chosen(values), ...SEEDS]) {
    if (values[name] !== undefined) url.searchParams.set(name, String(values[name]));
  }
  for (const name of PASSED_ON) {
    if (asked.has(name)) url.searchParams.set(name, asked.get(name));
  }
  if (resume) url.searchParams.set("resume", resume);
  return url.href;
}

function parameter(name, label, hint, initial, min, max, step) {
  return { name, label, hint, initial, min, max, step };
}
