// Loudness of a voice for the eye.

const FLOOR_DB = -60;
const FALL_PER_S = 2.5; // of the whole scale: falls slower than it rises, so that it can be followed

/** Loudness from 0 (silence) to 1 (full scale). @param {Float32Array} samples */
export function loudness(samples) {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  const db = 10 * Math.log10(sum / Math.max(1, samples.length) + 1e-12);
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}

/** A level that rises at once and falls slowly. */
export class Level {
  value = 0;

  /** @param {Float32Array} samples @param {number} rate_hz */
  add(samples, rate_hz) {
    this.value = Math.max(loudness(samples), this.value - (FALL_PER_S * samples.length) / rate_hz);
  }

  reset() {
    this.value = 0;
  }
}
