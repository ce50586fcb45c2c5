// Hands out both voices, 20 ms at a time and side by side: the caller's to the encoder, both to the recording and the
// level displays.

const PERIOD_MS = 20;

/** Collects blocks of any length into pairs of exactly `length` samples. */
export class PairCollector {
  #length;
  #pair;
  #filled = 0;

  constructor(length) {
    this.#length = length;
    this.#pair = this.#empty();
  }

  /**
   * @param {Float32Array | undefined} mine undefined is silence
   * @param {Float32Array | undefined} reply
   * @param {number} length of this block
   * @param {(pair: {mine: Float32Array, reply: Float32Array}) => void} deliver gets each complete pair to keep
   */
  push(mine, reply, length, deliver) {
    for (let at = 0; at < length; ) {
      const count = Math.min(length - at, this.#length - this.#filled);
      if (mine) this.#pair.mine.set(mine.subarray(at, at + count), this.#filled);
      if (reply) this.#pair.reply.set(reply.subarray(at, at + count), this.#filled);
      this.#filled += count;
      at += count;
      if (this.#filled < this.#length) continue;
      deliver(this.#pair);
      this.#pair = this.#empty();
      this.#filled = 0;
    }
  }

  #empty() {
    return { mine: new Float32Array(this.#length), reply: new Float32Array(this.#length) };
  }
}

class VoicesProcessor extends (globalThis.AudioWorkletProcessor ?? Object) {
  #collector = new PairCollector(Math.round((PERIOD_MS * (globalThis.sampleRate ?? 48000)) / 1000));

  process([mine, reply], [[output]]) {
    this.#collector.push(mine[0], reply[0], output.length, (pair) =>
      this.port.postMessage(pair, [pair.mine.buffer, pair.reply.buffer]),
    );
    return true;
  }
}

globalThis.registerProcessor?.("moshi-voices", VoicesProcessor);
