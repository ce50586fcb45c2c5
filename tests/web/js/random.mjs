// Random numbers that are the same every time.

/** @param {number} seed @returns {() => number} from 0 to 1 (mulberry32) */
export function randomSource(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

export function randomBytes(random, length) {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

/** The same bytes in pieces of random lengths, none included. */
export function cutsOf(random, bytes, longest = 400) {
  const parts = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Math.floor(random() * longest);
    parts.push(bytes.subarray(at, at + length));
    at += length;
  }
  return parts;
}
