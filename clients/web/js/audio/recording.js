// Both voices of a conversation as one WAV file: the caller left, Moshi right.

import { Resampler } from "./resampler.js";

export const RECORDING_RATE_HZ = 24_000;
const CHANNELS = 2;
const BYTES_PER_FRAME = 2 * CHANNELS;
const PART_S = 10; // handed to the browser as a Blob, which may keep it on disk

export class Recording {
  #resamplers;
  #parts = []; // Blobs
  #current = new Int16Array(CHANNELS * RECORDING_RATE_HZ * PART_S);
  #filled = 0; // values of #current
  #frames = 0;
  startedAt = new Date();

  /** @param {number} rate_hz of the samples given to `add` */
  constructor(rate_hz) {
    this.#resamplers = [new Resampler(rate_hz, RECORDING_RATE_HZ), new Resampler(rate_hz, RECORDING_RATE_HZ)];
  }

  get length_s() {
    return this.#frames / RECORDING_RATE_HZ;
  }

  /** @param {Float32Array} mine @param {Float32Array} reply the same stretch of time */
  add(mine, reply) {
    const left = this.#resamplers[0].push(mine);
    const right = this.#resamplers[1].push(reply);
    for (let i = 0; i < left.length; i++) {
      this.#current[this.#filled++] = toInt16(left[i]);
      this.#current[this.#filled++] = toInt16(right[i]);
      if (this.#filled === this.#current.length) this.#closePart();
    }
    this.#frames += left.length;
  }

  /** @returns {Blob} a WAV file of everything so far */
  toBlob() {
    const tail = this.#current.slice(0, this.#filled);
    return new Blob([wavHeader(this.#frames), ...this.#parts, tail], { type: "audio/wav" });
  }

  #closePart() {
    this.#parts.push(new Blob([this.#current]));
    this.#current = new Int16Array(this.#current.length);
    this.#filled = 0;
  }
}

/** @param {number} frames pairs of samples @returns {Uint8Array} 44 bytes */
export function wavHeader(frames) {
  const bytes = frames * BYTES_PER_FRAME;
  const header = new Uint8Array(44);
  const view = new DataView(header.buffer);
  const name = (at, text) => header.set([...text].map((letter) => letter.charCodeAt(0)), at);
  name(0, "RIFF");
  view.setUint32(4, 36 + bytes, true);
  name(8, "WAVEfmt ");
  view.setUint32(16, 16, true); // length of the format
  view.setUint16(20, 1, true); // linear PCM
  view.setUint16(22, CHANNELS, true);
  view.setUint32(24, RECORDING_RATE_HZ, true);
  view.setUint32(28, RECORDING_RATE_HZ * BYTES_PER_FRAME, true);
  view.setUint16(32, BYTES_PER_FRAME, true);
  view.setUint16(34, 16, true); // bits
  name(36, "data");
  view.setUint32(40, bytes, true);
  return header;
}

function toInt16(value) {
  return Math.max(-32768, Math.min(32767, Math.round(value * 32767)));
}
