// Band-limited conversion between sample rates of a stream cut anywhere.

const ZERO_CROSSINGS = 16; // each side: less than 0.7 ms at 24 kHz
const BETA = 8; // of the Kaiser window: about 80 dB
const CUTOFF = 0.92; // share of the lower Nyquist frequency that passes

/** A polyphase windowed sinc; what comes out is `delay_s` late. */
export class Resampler {
  #up;
  #down;
  #taps; // per phase
  #phases; // #up rows of #taps weights, newest sample first
  #history;
  #position = 0; // of the next output, in steps of 1/#up input samples, counted from the start of #history
  delay_s;

  /** @param {number} from_hz @param {number} to_hz whole numbers */
  constructor(from_hz, to_hz) {
    const common = greatestCommonDivisor(from_hz, to_hz);
    this.#up = to_hz / common;
    this.#down = from_hz / common;
    const scale = Math.min(1, to_hz / from_hz) * CUTOFF;
    const half = Math.ceil(ZERO_CROSSINGS / scale);
    this.#taps = 2 * half;
    this.#phases = kernel(this.#up, half, scale);
    this.#history = new Float32Array(this.#taps - 1);
    this.#position = 0;
    this.delay_s = from_hz === to_hz ? 0 : half / from_hz;
  }

  /** @param {Float32Array} samples any number @returns {Float32Array} as many as these complete */
  push(samples) {
    if (this.#up === this.#down) return samples;
    const data = new Float32Array(this.#history.length + samples.length);
    data.set(this.#history);
    data.set(samples, this.#history.length);
    const end = samples.length * this.#up;
    const output = new Float32Array(Math.max(0, Math.ceil((end - this.#position) / this.#down)));
    for (let i = 0; i < output.length; i++) {
      const start = Math.floor(this.#position / this.#up);
      output[i] = this.#weigh(data, start, this.#position - start * this.#up);
      this.#position += this.#down;
    }
    this.#position -= end;
    this.#history = data.slice(data.length - this.#history.length);
    return output;
  }

  #weigh(data, start, phase) {
    const row = phase * this.#taps;
    const newest = start + this.#taps - 1;
    let sum = 0;
    for (let tap = 0; tap < this.#taps; tap++) sum += this.#phases[row + tap] * data[newest - tap];
    return sum;
  }
}

/** Weight of the sample `tap` before the newest, for an output `phase / up` after it, delayed by `half` samples. */
function kernel(up, half, scale) {
  const taps = 2 * half;
  const weights = new Float32Array(up * taps);
  for (let phase = 0; phase < up; phase++) {
    let sum = 0;
    for (let tap = 0; tap < taps; tap++) {
      const distance = tap + phase / up - half;
      const weight = scale * sinc(scale * distance) * kaiser(distance / half);
      weights[phase * taps + tap] = weight;
      sum += weight;
    }
    for (let tap = 0; tap < taps; tap++) weights[phase * taps + tap] /= sum; // silence in, the same constant out
  }
  return weights;
}

function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

function kaiser(x) {
  return Math.abs(x) >= 1 ? 0 : bessel0(BETA * Math.sqrt(1 - x * x)) / bessel0(BETA);
}

function bessel0(x) {
  let sum = 1;
  for (let term = 1, k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

function greatestCommonDivisor(a, b) {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}
