// Figures of the conversation and what the server says about itself.

import { make, setText } from "./dom.js";

const ROWS = [
  ["played", "Audio played"],
  ["missed", "Missed audio"],
  ["dropped", "Dropped to catch up"],
  ["buffer", "Buffer, least and most"],
  ["limit", "Buffer starts and drops at"],
  ["sent", "Audio sent"],
  ["server", "Server filled, dropped, late"],
];
const NOT_SHOWN = new Set(["latency_ms", "counters", "queue", "event", "resume", "resumed", "remembered_frames"]);

const seconds = (value) => `${value.toFixed(1)} s`;
const ms = (value) => `${Math.round(value * 1000)}`;

export class Statistics {
  #cells = new Map();
  #serverList;
  #serverInfo = {};
  #counters = null;

  /** @param {HTMLElement} table a <dl> @param {HTMLElement} serverList another */
  constructor(table, serverList) {
    this.#serverList = serverList;
    for (const [name, label] of ROWS) {
      const cell = make("dd", "–");
      cell.dataset.statistic = name;
      table.append(make("div", "", "", [make("dt", label), cell]));
      this.#cells.set(name, cell);
    }
  }

  /** @param {import("../call/conversation.js").Conversation} conversation */
  show({ playback, sent_s }) {
    const set = (name, text) => setText(this.#cells.get(name), text);
    set("sent", seconds(sent_s));
    if (this.#counters) {
      const { frames_filled = 0, frames_dropped = 0, frames_late = 0 } = this.#counters;
      set("server", `${frames_filled}, ${frames_dropped}, ${frames_late} frames`);
    }
    if (!playback) return;
    set("played", seconds(playback.played_s));
    set("missed", `${seconds(playback.missed_s)} in ${playback.underruns}`);
    set("dropped", `${seconds(playback.dropped_s)} in ${playback.drops}`);
    set("buffer", `${ms(playback.queuedMin_s)} to ${ms(playback.queuedMax_s)} ms`);
    set("limit", `${ms(playback.start_s)} and ${ms(playback.limit_s)} ms`);
  }

  /** @param {object} metadata any message of the server */
  noteMetadata(metadata) {
    if (metadata.counters && typeof metadata.counters === "object") this.#counters = metadata.counters;
    const told = Object.entries(metadata).filter(([name]) => !NOT_SHOWN.has(name));
    if (told.length === 0) return;
    Object.assign(this.#serverInfo, Object.fromEntries(told));
    const rows = Object.entries(this.#serverInfo).flatMap(([name, value]) => flatten(name, value));
    this.#serverList.replaceChildren(
      ...rows.map(([name, value]) => make("div", "", "", [make("dt", name.replaceAll("_", " ")), make("dd", value)])),
    );
  }

  clear() {
    this.#serverInfo = {};
    this.#counters = null;
    for (const cell of this.#cells.values()) setText(cell, "–");
    this.#serverList.replaceChildren();
  }
}

/** @returns {[string, string][]} a row for each value, also of an object inside */
function flatten(name, value) {
  if (value === null || value === undefined || value === "") return [];
  if (typeof value !== "object") return [[name, String(value)]];
  return Object.entries(value).flatMap(([inner, each]) => flatten(inner, each));
}
