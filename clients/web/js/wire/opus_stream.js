// An Ogg Opus stream (RFC 7845) from and to packets.

import { concatenate, FIRST_PAGE, PacketReader, pageOf } from "./ogg.js";

const VENDOR = "moshi-cluster";
const PRE_SKIP_SAMPLES = 312; // at 48 kHz: libopus' own delay; receivers of this protocol do not skip it
const INPUT_RATE_HZ = 24000;

/** Turns Opus packets into bytes for the wire: headers before the first, then a page per packet. */
export class OpusStreamWriter {
  #serial;
  #sequence = 0;
  #granule = 0;

  /** @param {number} serial distinguishes streams; upstream's servers use 42 */
  constructor(serial = 42) {
    this.#serial = serial;
  }

  /**
   * @param {Uint8Array} packet one Opus packet
   * @param {number} duration_ms its length
   * @returns {Uint8Array} whole pages
   */
  write(packet, duration_ms) {
    const pages = this.#sequence === 0 ? [this.#page(opusHead(), FIRST_PAGE), this.#page(opusTags())] : [];
    this.#granule += Math.round(duration_ms * 48);
    pages.push(this.#page(packet));
    return concatenate(pages);
  }

  #page(packet, flags = 0) {
    return pageOf(packet, { serial: this.#serial, sequence: this.#sequence++, granule: this.#granule, flags });
  }
}

/** Finds the Opus packets in an Ogg stream; headers are left out, wherever and however often they come. */
export class OpusStreamReader {
  #reader = new PacketReader();

  /** @param {Uint8Array} bytes @returns {Uint8Array[]} Opus packets */
  push(bytes) {
    return this.#reader.push(bytes).filter((packet) => packet.length > 0 && !isHeader(packet));
  }

  /** Bytes that were not Ogg or damaged. */
  get skippedBytes() {
    return this.#reader.skippedBytes;
  }
}

/** How much sound an Opus packet holds (RFC 6716, section 3.1). @param {Uint8Array} packet not empty */
export function packetDuration_ms(packet) {
  const config = packet[0] >> 3;
  const frame_ms = config < 12 ? [10, 20, 40, 60][config % 4] : config < 16 ? [10, 20][config % 2] : [2.5, 5, 10, 20][config % 4];
  const code = packet[0] & 3;
  const frames = code === 0 ? 1 : code < 3 ? 2 : (packet[1] ?? 0) & 63;
  return frames * frame_ms;
}

function opusHead() {
  const head = new Uint8Array(19);
  const view = new DataView(head.buffer);
  head.set(ascii("OpusHead"));
  head[8] = 1; // version
  head[9] = 1; // channels
  view.setUint16(10, PRE_SKIP_SAMPLES, true);
  view.setUint32(12, INPUT_RATE_HZ, true);
  return head;
}

function opusTags() {
  const vendor = ascii(VENDOR);
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, vendor.length, true);
  return concatenate([ascii("OpusTags"), length, vendor, new Uint8Array(4)]);
}

function isHeader(packet) {
  const name = String.fromCharCode(...packet.subarray(0, 8));
  return name === "OpusHead" || name === "OpusTags";
}

function ascii(text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}
