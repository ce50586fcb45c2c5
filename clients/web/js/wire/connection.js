// The life of the connection to one server: open, wait for a slot, talk, come back when it is lost.

import { parse, pingMessage } from "./messages.js";

export const CONNECT_TIMEOUT_MS = 10_000;
export const SILENCE_CHECK_MS = 500;
export const SILENCE_NOTICE_MS = 2_000; // the page says that the server is silent
export const SILENCE_LIMIT_MS = 10_000; // the connection counts as lost
export const QUEUE_SILENCE_LIMIT_MS = 20_000; // for servers that announce places in a queue
export const RESUME_DELAYS_MS = [500, 1_000, 2_000, 4_000, 8_000];
export const SETTLED_MS = 5_000; // a connection that held this long may be resumed afresh
export const PING_PERIOD_MS = 1_000;
export const KEPT_MS = 60_000; // a lost conversation, by servers that do not say how long
const PROTOCOL = "moshi-cluster"; // with the key of a lost conversation behind it; an address would be logged
const MAX_BUFFERED_BYTES = 256 * 1024; // about a minute of voice that the network does not take

/**
 * @typedef {"idle" | "connecting" | "waiting" | "talking" | "resuming" | "closed"} State
 * @typedef {"user" | "ended" | "unreachable" | "full" | "refused" | "protocol" | "lost" | "failed"} Why
 *   why a connection is closed; "ended" by the server as it should, "lost" when every attempt to resume failed
 */

/** Close codes after which another attempt makes no sense, and what they mean. */
const FINAL_CODES = new Map([
  [1000, "ended"],
  [1002, "protocol"],
  [1003, "protocol"],
  [1007, "protocol"],
  [1008, "refused"],
  [1009, "protocol"],
  [1013, "full"],
]);

/** Ends after which the server keeps the conversation for whoever comes back. */
const KEPT_AFTER = new Set(["lost", "full"]);

/** What a connection tells; all are optional. */
const SILENT_LISTENER = {
  /** @param {State} state @param {object} details why, detail, attempt, of, delay_ms; kept_ms: how long `goOn` may help */
  state: (state, details) => {},
  /** The handshake came: send audio from now on. @param {{resumed: boolean, again: boolean}} how */
  ready: (how) => {},
  audio: (bytes) => {},
  text: (text, colour) => {},
  metadata: (value) => {},
  /** The server has been silent for this long during a conversation; 0: it speaks again. */
  silence: (milliseconds) => {},
  roundTrip: (milliseconds) => {},
};

/** The browser's own clock and sockets; tests bring others. */
export const BROWSER = {
  open: (url, protocols) => {
    const socket = new WebSocket(url, protocols);
    socket.binaryType = "arraybuffer";
    return socket;
  },
  now: () => performance.now(),
  later: (action, delay_ms) => setTimeout(action, delay_ms),
  every: (action, period_ms) => setInterval(action, period_ms),
  cancel: (timer) => clearTimeout(timer), // the same list as intervals
};

export class Connection {
  /** @type {State} */
  state = "idle";
  #address;
  #listener;
  #host;
  #socket = null;
  #timers = new Set();
  #attempt = 0;
  #resumeKey = null;
  #kept_ms = KEPT_MS;
  #lostAt_ms = 0;
  #resumed = false;
  #everReady = false;
  #readyAt_ms = 0;
  #lastMessageAt_ms = 0;
  #queued = false;
  #silent = false;
  #error = "";
  #pingsAnswered = false;
  #pingSentAt_ms = null;

  /**
   * @param {() => string} address of the server
   * @param {Partial<typeof SILENT_LISTENER>} listener
   */
  constructor(address, listener, host = BROWSER) {
    this.#address = address;
    this.#listener = { ...SILENT_LISTENER, ...listener };
    this.#host = host;
  }

  open() {
    this.#become("connecting", {});
    this.#connect();
  }

  /** After an end: tries anew to take the conversation up where it was; the server says whether it still has it. */
  goOn() {
    if (this.state !== "closed") return;
    this.#attempt = 0;
    this.open();
  }

  /** Ends it from our side, whatever it was doing. */
  close() {
    if (this.state !== "closed" && this.state !== "idle") this.#finish("user");
  }

  /** Tries again at once when waiting for the next attempt, for example because the network is back. */
  resumeNow() {
    if (this.state === "resuming" && this.#socket === null) this.#reconnect();
  }

  /** @param {Uint8Array} message @returns {boolean} false when it was not sent: not talking, or the network is stuck */
  send(message) {
    const socket = this.#socket;
    if (this.state !== "talking" || socket?.readyState !== 1 || socket.bufferedAmount > MAX_BUFFERED_BYTES) return false;
    socket.send(message);
    return true;
  }

  // --- one socket

  #connect() {
    this.#clearTimers();
    this.#error = "";
    this.#queued = this.#silent = this.#resumed = this.#pingsAnswered = false;
    this.#pingSentAt_ms = null;
    let socket;
    try {
      socket = this.#host.open(this.#address(), this.#protocols());
    } catch (error) {
      this.#lose({ code: 1006, reason: String(error.message ?? error) });
      return;
    }
    this.#socket = socket;
    const ifCurrent = (action) => (event) => this.#socket === socket && action(event);
    socket.onopen = ifCurrent(() => this.#opened());
    socket.onmessage = ifCurrent((event) => this.#received(event.data));
    socket.onclose = ifCurrent((event) => this.#lose(event));
    socket.onerror = () => {}; // a close event always follows
    this.#later(() => this.#lose({ code: 1006, reason: "no answer" }), CONNECT_TIMEOUT_MS);
  }

  /** Only a server that gave a key knows the protocol. */
  #protocols() {
    return this.#resumeKey === null ? [] : [PROTOCOL, `${PROTOCOL}.resume.${this.#resumeKey}`];
  }

  #opened() {
    this.#clearTimers();
    this.#lastMessageAt_ms = this.#host.now();
    this.#every(() => this.#checkSilence(), SILENCE_CHECK_MS);
    this.#become("waiting", { again: this.#everReady });
  }

  #received(data) {
    this.#lastMessageAt_ms = this.#host.now();
    if (this.#silent) {
      this.#silent = false;
      this.#listener.silence(0);
    }
    const message = parse(data);
    switch (message.kind) {
      case "handshake":
        this.#handshake();
        break;
      case "audio":
        this.#listener.audio(message.bytes);
        break;
      case "text":
        this.#listener.text(message.text, message.colour);
        break;
      case "metadata":
        this.#noteMetadata(message.value);
        break;
      case "error":
        this.#error = message.text;
        break;
      case "ping":
        this.#pong();
        break;
    }
  }

  #handshake() {
    if (this.state === "talking") return;
    const again = this.#everReady;
    this.#everReady = true;
    this.#readyAt_ms = this.#host.now();
    this.#become("talking", {});
    this.#listener.ready({ resumed: this.#resumed, again });
    if (this.#pingsAnswered) this.#every(() => this.#ping(), PING_PERIOD_MS);
  }

  #noteMetadata(value) {
    if (typeof value.resume === "string") this.#resumeKey = value.resume;
    if (Number.isFinite(value.resume_keep_s)) this.#kept_ms = 1000 * value.resume_keep_s;
    if ("resumed" in value) this.#resumed = value.resumed === true;
    if ("queue" in value) this.#queued = true;
    if (value.server === "moshi-cluster") this.#pingsAnswered = true; // others may close on it
    this.#listener.metadata(value);
  }

  #ping() {
    if (this.#pingSentAt_ms === null && this.send(pingMessage())) this.#pingSentAt_ms = this.#host.now();
  }

  #pong() {
    if (this.#pingSentAt_ms === null) return;
    this.#listener.roundTrip(this.#host.now() - this.#pingSentAt_ms);
    this.#pingSentAt_ms = null;
  }

  /** Upstream's servers say nothing while a client waits for its turn, so only a conversation has a limit there. */
  #checkSilence() {
    const silence_ms = this.#host.now() - this.#lastMessageAt_ms;
    const limit_ms = this.state === "talking" ? SILENCE_LIMIT_MS : this.#queued ? QUEUE_SILENCE_LIMIT_MS : Infinity;
    if (silence_ms >= limit_ms) {
      this.#lose({ code: 1006, reason: `no message for ${Math.round(silence_ms / 1000)} s` });
    } else if (this.state === "talking" && silence_ms >= SILENCE_NOTICE_MS) {
      this.#silent = true;
      this.#listener.silence(silence_ms);
    }
  }

  // --- its end, and the next one

  #lose({ code, reason }) {
    const held = this.state === "talking";
    if (held) this.#lostAt_ms = this.#host.now();
    this.#dropSocket();
    const detail = this.#error || reason || "";
    const final = FINAL_CODES.get(code);
    if (final) this.#finish(final, detail);
    else if (!this.#everReady) this.#finish(this.state === "connecting" ? "unreachable" : "failed", detail);
    else this.#resumeLater(held && this.#host.now() - this.#readyAt_ms >= SETTLED_MS, detail);
  }

  #resumeLater(settled, detail) {
    if (settled) this.#attempt = 0;
    if (this.#attempt >= RESUME_DELAYS_MS.length) {
      this.#finish("lost", detail);
      return;
    }
    const delay_ms = RESUME_DELAYS_MS[this.#attempt++];
    this.#become("resuming", { attempt: this.#attempt, of: RESUME_DELAYS_MS.length, delay_ms, detail });
    this.#later(() => this.#reconnect(), delay_ms);
  }

  #reconnect() {
    this.#clearTimers();
    this.#connect();
  }

  #finish(why, detail = "") {
    this.#dropSocket();
    this.#become("closed", { why, detail, kept_ms: KEPT_AFTER.has(why) ? this.#keptFor_ms() : 0 });
  }

  /** At least this long: the server counts from when it notices the loss. */
  #keptFor_ms() {
    if (this.#resumeKey === null) return 0;
    return Math.max(0, this.#lostAt_ms + this.#kept_ms - this.#host.now());
  }

  #dropSocket() {
    this.#clearTimers();
    const socket = this.#socket;
    this.#socket = null;
    if (socket && socket.readyState <= 1) socket.close(1000);
  }

  #become(state, details) {
    this.state = state;
    this.#listener.state(state, details);
  }

  #later(action, delay_ms) {
    this.#timers.add(this.#host.later(action, delay_ms));
  }

  #every(action, period_ms) {
    this.#timers.add(this.#host.every(action, period_ms));
  }

  #clearTimers() {
    for (const timer of this.#timers) this.#host.cancel(timer);
    this.#timers.clear();
  }
}
