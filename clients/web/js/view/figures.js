// The figures of a conversation: latency as a number, a graph and a list, and the statistics.

import { byId, setText } from "./dom.js";
import { LatencyGraph } from "./latency_graph.js";
import { Statistics } from "./statistics.js";

const STATISTICS_PERIOD_MS = 141; // as upstream's page
const LATENCY_PERIOD_MS = 1_000; // a bar of the graph

export class Figures {
  #graph = new LatencyGraph(byId("latency-graph"), byId("hops"));
  #statistics = new Statistics(byId("statistics"), byId("server-info"));
  #timers = [];

  /** Follows a conversation until `stop`: without one, and while it is lost, everything stands still. */
  follow(conversation) {
    this.stop();
    this.#timers = [
      setInterval(() => this.#statistics.show(conversation), STATISTICS_PERIOD_MS),
      setInterval(() => this.#showLatency(conversation.latency.hops_ms), LATENCY_PERIOD_MS),
    ];
  }

  stop() {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
  }

  clear() {
    this.#statistics.clear();
    this.#graph.clear();
    setText(byId("latency-now"), "–");
  }

  /** @param {object} metadata any message of the server */
  noteMetadata(metadata) {
    this.#statistics.noteMetadata(metadata);
  }

  /** After the page's colours changed. */
  redraw() {
    this.#graph.draw();
  }

  /** The whole and its parts from one moment, so that they add up. @param {Record<string, number> | null} hops_ms */
  #showLatency(hops_ms) {
    this.#graph.add(hops_ms);
    if (!hops_ms) return;
    const total_ms = Object.values(hops_ms).reduce((sum, value) => sum + value, 0);
    setText(byId("latency-now"), String(Math.round(total_ms)));
  }
}
