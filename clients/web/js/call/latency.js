// How late Moshi's voice is, and where the time goes.

const BETA = 0.85;
const FRAME_S = 0.08;
// What a sound has behind it when its packet is counted as sent: half a packet of 20 ms, and what Opus looks ahead.
const CAPTURE_S = 0.01 + 0.0065;

/** Exponential moving average whose first values are not drawn to zero. */
export class MovingAverage {
  #sum = 0;
  #weight = 0;

  add(value) {
    this.#sum = BETA * this.#sum + (1 - BETA) * value;
    this.#weight = BETA * this.#weight + (1 - BETA);
  }

  /** null before the first value */
  get value() {
    return this.#weight === 0 ? null : this.#sum / this.#weight;
  }
}

/** The parts of the latency in the order in which a sound passes them. */
export const HOPS = [
  { name: "capture", label: "Packet and codec" },
  { name: "network", label: "Network" },
  { name: "server", label: "Server and network" }, // of servers that do not say more
  { name: "edge_in", label: "Edge in" },
  { name: "encode", label: "Encode" },
  { name: "lm", label: "Model" },
  { name: "decode", label: "Decode" },
  { name: "edge_out", label: "Edge out" },
  { name: "framing", label: "Framing and waiting" },
  { name: "playback", label: "Playback buffer" },
  { name: "device", label: "Sound device" },
];
const SERVER_HOPS = ["edge_in", "encode", "lm", "decode", "edge_out"];

/**
 * The time between what the caller says and the moment that the answer to that very sound is heard: every frame sent is
 * answered by one frame, so it is what was sent less what was played or dropped, and what lies before and after those two
 * counts. It falls back when audio is dropped.
 */
export class LatencyMeter {
  #sent_s = 0;
  #consumed_s = 0;
  #serverShift_s = 0; // frames that the server added to or took from the caller's
  #serverShiftBefore_s; // those of earlier connections of a resumed conversation; null until known
  #average = new MovingAverage();
  #playback = new MovingAverage();
  #device_s = 0;
  #hops_ms = null;
  #network_ms = null;

  /** @param {boolean} resumed the server's counters began before this connection */
  constructor(resumed = false) {
    this.#serverShiftBefore_s = resumed ? null : 0;
  }

  /** Audio given to the connection. */
  sent(duration_s) {
    this.#sent_s += duration_s;
  }

  /** @param {object} statistics of the playback @param {number} device_s delay of the loudspeaker */
  played({ played_s, dropped_s, queued_s }, device_s) {
    this.#consumed_s = played_s + dropped_s;
    this.#device_s = device_s;
    if (played_s === 0) return;
    this.#playback.add(queued_s);
    this.#average.add(Math.max(0, this.#sent_s + this.#serverShift_s - this.#consumed_s));
  }

  /** What the server says about itself, see docs/websocket.md. */
  noteMetadata({ latency_ms, counters }) {
    if (latency_ms && typeof latency_ms === "object") this.#hops_ms = latency_ms;
    if (counters && typeof counters === "object") {
      const frames = (name) => (Number.isFinite(counters[name]) ? counters[name] : 0);
      const added = frames("frames_filled") - frames("frames_dropped") - frames("reply_frames_dropped");
      this.#serverShiftBefore_s ??= FRAME_S * added;
      this.#serverShift_s = FRAME_S * added - this.#serverShiftBefore_s;
    }
  }

  noteRoundTrip(milliseconds) {
    this.#network_ms = milliseconds;
  }

  /** Milliseconds from microphone to ear, the loudspeaker included; null before anything was heard. */
  get total_ms() {
    return this.#average.value === null ? null : 1000 * (CAPTURE_S + this.#average.value + this.#device_s);
  }

  /** Milliseconds per hop; they add up to `total_ms`. null before anything was heard. */
  get hops_ms() {
    if (this.total_ms === null) return null;
    const hops = { capture: 1000 * CAPTURE_S, playback: 1000 * this.#playback.value, device: 1000 * this.#device_s };
    if (this.#hops_ms) {
      for (const name of SERVER_HOPS) hops[name] = Math.max(0, Number(this.#hops_ms[name]) || 0);
      hops.network = this.#network_ms ?? 0;
    }
    const known = Object.values(hops).reduce((sum, value) => sum + value, 0);
    hops[this.#hops_ms ? "framing" : "server"] = Math.max(0, this.total_ms - known);
    return scaledTo(hops, this.total_ms);
  }
}

/** The parts come from different moments: when they exceed the whole they shrink together. */
function scaledTo(hops, total) {
  const sum = Object.values(hops).reduce((all, value) => all + value, 0);
  if (sum <= total || sum === 0) return hops;
  return Object.fromEntries(Object.entries(hops).map(([name, value]) => [name, (value * total) / sum]));
}
