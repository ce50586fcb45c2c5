// A connection in the test's hands.

import { Connection } from "../../../clients/web/js/wire/connection.js";

const METADATA = 4;
export const ERROR = 5;

/** Sockets and time in the test's hands. */
export class Host {
  sockets = [];
  time_ms = 0;
  #timers = new Map();
  #ids = 0;

  open(url, protocols) {
    const socket = { url, protocols, readyState: 0, bufferedAmount: 0, sent: [], send: (data) => socket.sent.push(data) };
    socket.close = () => (socket.readyState = 3);
    this.sockets.push(socket);
    return socket;
  }

  now() {
    return this.time_ms;
  }

  later(action, delay_ms) {
    this.#timers.set(++this.#ids, { action, at_ms: this.time_ms + delay_ms });
    return this.#ids;
  }

  every(action, period_ms) {
    const id = this.later(() => {
      this.#timers.set(id, { action: repeat, at_ms: this.time_ms + period_ms });
      action();
    }, period_ms);
    const repeat = this.#timers.get(id).action;
    return id;
  }

  cancel(id) {
    this.#timers.delete(id);
  }

  get timers() {
    return this.#timers.size;
  }

  pass(ms) {
    const end_ms = this.time_ms + ms;
    while (true) {
      const due = [...this.#timers].filter(([, { at_ms }]) => at_ms <= end_ms).sort(([, a], [, b]) => a.at_ms - b.at_ms)[0];
      if (!due) break;
      const [id, { action, at_ms }] = due;
      this.#timers.delete(id);
      this.time_ms = at_ms;
      action();
    }
    this.time_ms = end_ms;
  }

  get socket() {
    return this.sockets.at(-1);
  }

  accept() {
    this.socket.readyState = 1;
    this.socket.onopen({});
  }

  say(kind, payload = "") {
    this.socket.onmessage({ data: Uint8Array.of(kind, ...Buffer.from(payload)).buffer });
  }

  tell(value) {
    this.say(METADATA, JSON.stringify(value));
  }

  hangUp(code = 1006, reason = "") {
    this.socket.readyState = 3;
    this.socket.onclose({ code, reason });
  }

  talk() {
    this.accept();
    this.say(0);
  }
}

/** A connection that has just been opened, and what it has told. */
export function opened() {
  const host = new Host();
  const log = [];
  const note = (name) => (...values) => log.push([name, ...values]);
  const listener = Object.fromEntries(
    ["state", "ready", "audio", "text", "metadata", "silence", "roundTrip"].map((name) => [name, note(name)]),
  );
  const connection = new Connection(() => "ws://host/api/chat", listener, host);
  connection.open();
  const states = () => log.filter(([name]) => name === "state").map(([, state]) => state);
  const last = (wanted) => log.filter(([name]) => name === wanted).at(-1);
  return { host, connection, log, states, last };
}
