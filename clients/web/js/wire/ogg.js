// Ogg pages in both directions (RFC 3533): only what one Opus stream needs, but any Opus stream.

const CAPTURE = [0x4f, 0x67, 0x67, 0x53]; // "OggS"
const HEADER_BYTES = 27;
const MAX_SEGMENTS = 255;
export const MAX_PAGE_BYTES = HEADER_BYTES + MAX_SEGMENTS + MAX_SEGMENTS * 255;
const MAX_PACKET_BYTES = 1 << 20;

export const CONTINUED = 1;
export const FIRST_PAGE = 2;
export const LAST_PAGE = 4;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index << 24;
  for (let bit = 0; bit < 8; bit++) value = value & 0x80000000 ? (value << 1) ^ 0x04c11db7 : value << 1;
  return value >>> 0;
});

/** CRC of RFC 3533: polynomial 0x04c11db7, no reflection, start and end at zero. */
export function crc32(bytes) {
  let crc = 0;
  for (const byte of bytes) crc = ((crc << 8) ^ CRC_TABLE[(crc >>> 24) ^ byte]) >>> 0;
  return crc;
}

/**
 * One page that holds one whole packet.
 * @param {Uint8Array} packet at most 65024 bytes
 * @param {{serial: number, sequence: number, granule: number, flags?: number}} header
 *   granule: position after this packet, in samples at 48 kHz
 * @returns {Uint8Array}
 */
export function pageOf(packet, { serial, sequence, granule, flags = 0 }) {
  const segments = Math.floor(packet.length / 255) + 1;
  if (segments > MAX_SEGMENTS) throw new RangeError(`a packet of ${packet.length} bytes does not fit one page`);
  const page = new Uint8Array(HEADER_BYTES + segments + packet.length);
  const view = new DataView(page.buffer);
  page.set(CAPTURE);
  page[5] = flags;
  view.setBigUint64(6, BigInt(granule), true);
  view.setUint32(14, serial, true);
  view.setUint32(18, sequence, true);
  page[26] = segments;
  page.fill(255, HEADER_BYTES, HEADER_BYTES + segments - 1);
  page[HEADER_BYTES + segments - 1] = packet.length % 255;
  page.set(packet, HEADER_BYTES + segments);
  view.setUint32(22, crc32(page), true);
  return page;
}

/** Finds packets in a stream of bytes cut anywhere; what is not Ogg, or damaged, is skipped and counted. */
export class PacketReader {
  #pending = new Uint8Array(0);
  #partial = []; // segments of a packet that goes on on the next page
  #partialBytes = 0;
  skippedBytes = 0;

  /** @param {Uint8Array} bytes @returns {Uint8Array[]} the packets completed by these bytes, in order */
  push(bytes) {
    const data = concatenate([this.#pending, bytes]);
    const packets = [];
    let at = 0;
    while (true) {
      const start = findCapture(data, at);
      this.skippedBytes += start - at;
      at = start;
      const length = pageLength(data, at);
      if (length === null) break;
      const page = data.subarray(at, at + length);
      if (isIntact(page)) {
        this.#collect(page, packets);
        at += length;
      } else {
        this.skippedBytes += 1;
        at += 1;
      }
    }
    this.#pending = data.slice(at);
    return packets;
  }

  #collect(page, packets) {
    const segments = page[26];
    const lacing = page.subarray(HEADER_BYTES, HEADER_BYTES + segments);
    const continues = Boolean(page[5] & CONTINUED);
    if (!continues) this.#forgetPartial();
    let orphan = continues && this.#partial.length === 0; // its beginning was lost
    let at = HEADER_BYTES + segments;
    for (const length of lacing) {
      if (!orphan) this.#append(page.subarray(at, at + length));
      at += length;
      if (length === 255) continue;
      if (!orphan) packets.push(this.#takePartial());
      orphan = false;
    }
  }

  #append(segment) {
    this.#partial.push(segment.slice());
    this.#partialBytes += segment.length;
    if (this.#partialBytes > MAX_PACKET_BYTES) this.#forgetPartial();
  }

  #takePartial() {
    const packet = concatenate(this.#partial);
    this.#forgetPartial();
    return packet;
  }

  #forgetPartial() {
    this.#partial = [];
    this.#partialBytes = 0;
  }
}

/** @param {Uint8Array[]} parts @returns {Uint8Array} */
export function concatenate(parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Where the next page may begin: at a whole "OggS", or at the end's beginning of one. */
function findCapture(data, from) {
  for (let at = from; at < data.length; at++) {
    if (CAPTURE.every((byte, i) => at + i >= data.length || data[at + i] === byte)) return at;
  }
  return data.length;
}

/** Length of the page at `at` in bytes; null while its end has not arrived. */
function pageLength(data, at) {
  if (data.length - at < HEADER_BYTES) return null;
  const segments = data[at + 26];
  const lacingEnd = at + HEADER_BYTES + segments;
  if (data.length < lacingEnd) return null;
  let length = HEADER_BYTES + segments;
  for (let i = at + HEADER_BYTES; i < lacingEnd; i++) length += data[i];
  return data.length - at < length ? null : length;
}

function isIntact(page) {
  const copy = page.slice();
  const stored = new DataView(copy.buffer).getUint32(22, true);
  copy.fill(0, 22, 26);
  return page[4] === 0 && crc32(copy) === stored;
}
