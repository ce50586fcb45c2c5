// One conversation: sound, codec, connection, recording and figures, and the order in which they start and end.

import { OpusReceiver, OpusSender, canDoOpus } from "../audio/opus.js";
import { Recording } from "../audio/recording.js";
import { Sound, SoundError } from "../audio/sound.js";
import { Connection } from "../wire/connection.js";
import { audioMessage } from "../wire/messages.js";
import { Answers } from "./answers.js";
import { LatencyMeter } from "./latency.js";
import { Level, loudness } from "./levels.js";

/**
 * @typedef {object} ConversationListener
 * @property {(state: string, details: object) => void} state as of a Connection, and "preparing"
 * @property {(code: string, detail: string) => void} problem a key of the page's messages
 * @property {(code: string) => void} solved that problem is over
 * @property {(resumed: boolean, again: boolean) => void} ready
 * @property {(text: string, how: {colour?: number, begins: boolean}) => void} text begins: another answer than before
 * @property {(value: object) => void} metadata
 * @property {(recording: Recording) => void} recorded
 */
export class Conversation {
  mine = new Level();
  reply = new Level();
  latency = new LatencyMeter();
  playback = null; // the last statistics of the playback buffer
  sent_s = 0;
  undecodable_bytes = 0;
  #recording = null;
  #record = false; // whether it is to be recorded while it runs
  #answers = new Answers();
  #listener;
  #sound;
  #connection = null;
  #sender = null;
  #receiver = null;
  #preparing = null; // which start waits for the microphone

  /** @param {ConversationListener} listener */
  constructor(listener) {
    this.#listener = listener;
    this.#sound = new Sound({
      voices: (pair) => this.#heard(pair),
      playback: (statistics) => this.#played(statistics),
      microphoneLost: () => this.#listener.problem("mic-lost", ""),
      stopped: (isStopped) => (isStopped ? this.#listener.problem("sound-paused", "") : this.#listener.solved("sound-paused")),
    });
  }

  /** The devices, for choosing them while the conversation runs. */
  get sound() {
    return this.#sound;
  }

  get isRunning() {
    return this.#preparing !== null || !["idle", "closed"].includes(this.connectionState);
  }

  get connectionState() {
    return this.#connection?.state ?? "idle";
  }

  /** Whether both voices go into a recording at this moment. */
  get isRecording() {
    return this.#recording !== null && this.connectionState === "talking";
  }

  /**
   * From a click to the first sound. What goes wrong is told to the listener.
   * @param {{address: () => string, choices: object, goOn: boolean}} options
   *   goOn: with the conversation that was lost
   */
  async start({ address, choices, goOn }) {
    if (this.isRunning) return;
    this.#record = choices.record;
    const attempt = Symbol("attempt");
    this.#preparing = attempt;
    this.#listener.state("preparing", {});
    const error = await this.#prepare(choices);
    if (this.#preparing !== attempt) return; // stopped, and perhaps started anew, meanwhile
    this.#preparing = null;
    if (error) {
      this.#ended({ why: "sound" });
      this.#listener.problem(error.code ?? "sound-failed", error.message);
      return;
    }
    if (goOn) this.#connection.goOn();
    else this.#connect(address);
  }

  /** Ends it, at whatever point it is. */
  stop() {
    if (this.#preparing) {
      this.#preparing = null;
      this.#ended({ why: "user" });
    }
    this.#connection?.close();
  }

  /** From now on, or from when the conversation begins. */
  startRecording() {
    this.#record = true;
    if (this.connectionState === "talking") this.#recording ??= new Recording(this.#sound.rate_hz);
  }

  stopRecording() {
    this.#record = false;
    this.#handOverRecording();
  }

  /** The network is back. */
  resumeNow() {
    this.#connection?.resumeNow();
  }

  async #prepare(choices) {
    try {
      if (globalThis.isSecureContext && !(await canDoOpus())) throw new SoundError("no-codec");
      await this.#sound.start(choices);
      return null;
    } catch (error) {
      return error;
    }
  }

  // --- connection

  #connect(address) {
    this.#connection = new Connection(address, {
      state: (state, details) => (state === "closed" ? this.#ended(details) : this.#listener.state(state, details)),
      ready: (how) => this.#ready(how),
      audio: (bytes) => this.#receiver?.push(bytes),
      text: (text, colour) => {
        this.#listener.text(text, { colour, begins: this.#answers.beginsWithText(performance.now()) });
      },
      metadata: (value) => {
        this.latency.noteMetadata(value);
        this.#listener.metadata(value);
      },
      silence: (ms) => (ms > 0 ? this.#listener.problem("stalled", `${Math.round(ms / 1000)} s`) : this.#listener.solved("stalled")),
      roundTrip: (ms) => this.latency.noteRoundTrip(ms),
    });
    this.#connection.open();
  }

  async #ready({ resumed, again }) {
    this.#closeCodec();
    this.latency = new LatencyMeter(resumed);
    this.#answers = new Answers();
    this.sent_s = 0;
    this.playback = null;
    this.#sound.resetPlayback();
    const fail = (error) => this.#codecFailed(error);
    const receiver = new OpusReceiver(this.#sound.rate_hz, (samples) => this.#sound.play(samples), fail);
    this.#receiver = receiver;
    if (this.#record) this.startRecording();
    this.#listener.ready(resumed, again);
    const sender = await OpusSender.create(this.#sound.rate_hz, (pages, duration_s) => this.#send(pages, duration_s), fail);
    if (this.#receiver === receiver) this.#sender = sender;
    else sender.close(); // over, or connected anew, meanwhile
  }

  #send(pages, duration_s) {
    if (!this.#connection.send(audioMessage(pages))) return;
    this.sent_s += duration_s;
    this.latency.sent(duration_s);
  }

  #codecFailed(error) {
    this.#listener.problem("codec-failed", error.message);
    this.#connection?.close();
  }

  #ended(details) {
    this.#closeCodec();
    this.#handOverRecording();
    this.mine.reset();
    this.reply.reset();
    this.#sound.stop();
    this.#listener.state("closed", details);
  }

  #handOverRecording() {
    const recording = this.#recording;
    this.#recording = null;
    if (recording && recording.length_s > 0) this.#listener.recorded(recording);
  }

  #closeCodec() {
    this.#sender?.close();
    this.#receiver?.close();
    this.#sender = this.#receiver = null;
  }

  // --- sound

  #heard({ mine, reply }) {
    if (!this.isRunning) return; // the last blocks of a conversation that is over
    this.mine.add(mine, this.#sound.rate_hz);
    this.reply.add(reply, this.#sound.rate_hz);
    if (this.connectionState !== "talking") return;
    this.#answers.callerHeard(loudness(mine), (1000 * mine.length) / this.#sound.rate_hz);
    this.#recording?.add(mine, reply);
    this.#sender?.push(mine);
  }

  #played(statistics) {
    const dropped_s = statistics.dropped_s + (this.#receiver?.dropped_s ?? 0);
    this.playback = { ...statistics, dropped_s };
    this.latency.played(this.playback, this.#sound.outputDelay_s);
  }
}
