// Plays Moshi's voice: waits for a little audio before it starts, drops the oldest when too much is queued, so that a
// stall never becomes a delay that stays. The constants are those of upstream's page.
//
// One file without imports, because not every browser takes imports in an audio worklet. Tests import the class.

const ms = (milliseconds, sampleRate_hz) => Math.round((milliseconds * sampleRate_hz) / 1000);

export const INITIAL_MS = 80; // queued before playback starts
export const PARTIAL_MS = 10; // waited after that
export const PARTIAL_STEP_MS = 5; // more after each underrun
export const MAX_MS = 10; // above initial and partial: drop
export const MAX_STEP_MS = 5; // more after each drop
export const LIMIT_MS = 80; // of partial and of max

export class PlaybackBuffer {
  #sampleRate_hz;
  #chunks = []; // oldest first
  #offset = 0; // samples of the first chunk that are used up
  #partial;
  #max;
  #started = false;
  #wait = 0; // samples of silence before the first sound
  #fadeIn = false;
  #everStarted = false;

  constructor(sampleRate_hz) {
    this.#sampleRate_hz = sampleRate_hz;
    this.reset();
  }

  /** As new: for a new connection. */
  reset() {
    this.#chunks = [];
    this.#offset = 0;
    this.#partial = this.#samples(PARTIAL_MS);
    this.#max = this.#samples(MAX_MS);
    this.#started = this.#fadeIn = this.#everStarted = false;
    this.#wait = 0;
    this.queued = 0;
    this.played = 0; // samples that were heard
    this.dropped = 0;
    this.missed = 0; // samples of silence put in after the first sound
    this.underruns = 0;
    this.drops = 0;
    this.#forgetRange();
  }

  /** @param {Float32Array} chunk samples at the context's rate; kept, not copied */
  push(chunk) {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.queued += chunk.length;
    const start = this.#samples(INITIAL_MS);
    if (!this.#started && this.queued >= start) {
      this.#started = this.#fadeIn = true;
      this.#wait = this.#partial;
    }
    if (this.queued >= start + this.#partial + this.#max) this.#dropTo(start + this.#partial);
  }

  /** Fills `output` with the next samples, or silence. @param {Float32Array} output */
  pull(output) {
    output.fill(0);
    this.#noteRange();
    if (!this.#started || this.#wait > 0) {
      this.#wait = Math.max(0, this.#wait - output.length);
      if (this.#everStarted) this.missed += output.length;
      return;
    }
    const count = Math.min(output.length, this.queued);
    this.#take(output, count);
    if (this.#fadeIn) fade(output, 0, 1, count);
    this.#fadeIn = false;
    this.#everStarted = true;
    if (count < output.length) this.#underrun(output, count);
  }

  /** All figures in seconds or counts; the range of the queue is that since the last call. */
  takeStatistics() {
    const seconds = (samples) => samples / this.#sampleRate_hz;
    const statistics = {
      queued_s: seconds(this.queued),
      queuedMin_s: seconds(Number.isFinite(this.minimum) ? this.minimum : this.queued),
      queuedMax_s: seconds(Number.isFinite(this.maximum) ? this.maximum : this.queued),
      played_s: seconds(this.played),
      dropped_s: seconds(this.dropped),
      missed_s: seconds(this.missed),
      start_s: seconds(this.#samples(INITIAL_MS) + this.#partial),
      limit_s: seconds(this.#samples(INITIAL_MS) + this.#partial + this.#max),
      underruns: this.underruns,
      drops: this.drops,
    };
    this.#forgetRange();
    return statistics;
  }

  #take(output, count) {
    let filled = 0;
    while (filled < count) {
      const chunk = this.#chunks[0];
      const part = chunk.subarray(this.#offset, this.#offset + count - filled);
      output.set(part, filled);
      filled += part.length;
      this.#skip(part.length);
    }
    this.played += count;
  }

  #underrun(output, count) {
    fade(output, 1, 0, count);
    this.missed += output.length - count;
    this.underruns += 1;
    this.#started = false;
    this.#partial = this.#grown(this.#partial, PARTIAL_STEP_MS);
  }

  #dropTo(target) {
    this.dropped += this.queued - target;
    this.drops += 1;
    while (this.queued > target) {
      this.#skip(Math.min(this.#chunks[0].length - this.#offset, this.queued - target));
    }
    this.#max = this.#grown(this.#max, MAX_STEP_MS);
  }

  /** Uses up samples of the first chunk. */
  #skip(count) {
    this.#offset += count;
    this.queued -= count;
    if (this.#offset === this.#chunks[0].length) {
      this.#chunks.shift();
      this.#offset = 0;
    }
  }

  #grown(samples, step_ms) {
    return Math.min(this.#samples(LIMIT_MS), samples + this.#samples(step_ms));
  }

  #noteRange() {
    this.minimum = Math.min(this.minimum, this.queued);
    this.maximum = Math.max(this.maximum, this.queued);
  }

  #forgetRange() {
    this.minimum = Infinity;
    this.maximum = -Infinity;
  }

  #samples(milliseconds) {
    return ms(milliseconds, this.#sampleRate_hz);
  }
}

/** Multiplies the first `count` samples by a line from one gain to another. */
function fade(samples, from, to, count) {
  for (let i = 0; i < count; i++) samples[i] *= from + ((to - from) * (i + 0.5)) / count;
}

const STATISTICS_PERIOD_S = 0.05;

class PlaybackProcessor extends (globalThis.AudioWorkletProcessor ?? Object) {
  #buffer = new PlaybackBuffer(globalThis.sampleRate ?? 48000);
  #sinceStatistics = 0;

  constructor() {
    super();
    this.port.onmessage = ({ data }) => (data === "reset" ? this.#buffer.reset() : this.#buffer.push(data));
  }

  process(_inputs, [[output]]) {
    this.#buffer.pull(output);
    this.#sinceStatistics += output.length;
    if (this.#sinceStatistics >= STATISTICS_PERIOD_S * globalThis.sampleRate) {
      this.#sinceStatistics = 0;
      this.port.postMessage(this.#buffer.takeStatistics());
    }
    return true;
  }
}

globalThis.registerProcessor?.("moshi-playback", PlaybackProcessor);
