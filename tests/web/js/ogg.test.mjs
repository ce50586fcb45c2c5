import assert from "node:assert/strict";
import { test } from "node:test";

import { CONTINUED, crc32, PacketReader, pageOf } from "../../../clients/web/js/wire/ogg.js";
import { OpusStreamReader, OpusStreamWriter, packetDuration_ms } from "../../../clients/web/js/wire/opus_stream.js";
import { cutsOf, randomBytes, randomSource } from "./random.mjs";

const header = (sequence, flags = 0) => ({ serial: 42, sequence, granule: 960 * sequence, flags });
const push = (reader, parts) => parts.flatMap((part) => reader.push(part));
const bytes = (...packets) => packets.map((packet) => Buffer.from(packet).toString("hex"));

test("the checksum is the one of RFC 3533", () => {
  const data = randomBytes(randomSource(5), 300);
  assert.equal(crc32(data), referenceCrc(data));
  assert.equal(crc32(Buffer.from("123456789")), 0x89a1897f); // the published check of CRC-32/CKSUM, not complemented
});

test("packets of any length come back from pages cut anywhere", () => {
  const random = randomSource(1);
  const packets = [0, 1, 254, 255, 256, 510, 1000, 5000].map((length) => randomBytes(random, length));
  const stream = Buffer.concat(packets.map((packet, sequence) => pageOf(packet, header(sequence))));
  for (let round = 0; round < 20; round++) {
    const reader = new PacketReader();
    assert.deepEqual(bytes(...push(reader, cutsOf(random, stream))), bytes(...packets));
    assert.equal(reader.skippedBytes, 0);
  }
});

test("garbage before, between and inside pages costs only the packets it touches", () => {
  const random = randomSource(2);
  const packets = [40, 50, 60].map((length) => randomBytes(random, length));
  const [first, second, third] = packets.map((packet, sequence) => pageOf(packet, header(sequence)));
  const damaged = second.slice();
  damaged[40] ^= 1;
  const stream = Buffer.concat([randomBytes(random, 33), first, Buffer.from("OggSOggOgg"), damaged, third]);
  const reader = new PacketReader();
  assert.deepEqual(bytes(...push(reader, cutsOf(random, stream))), bytes(packets[0], packets[2]));
  assert.equal(reader.skippedBytes, 33 + 10 + second.length);
});

test("a packet that spans two pages is put together, and its second half alone is nothing", () => {
  const [start, end] = spanning(randomBytes(randomSource(3), 600));
  assert.equal(push(new PacketReader(), [start, end])[0].length, 600);
  assert.deepEqual(push(new PacketReader(), [end]), []);
});

test("half a packet never ends up in another one", () => {
  const [start, end] = spanning(randomBytes(randomSource(3), 600));
  const next = pageOf(Buffer.from("next"), header(7));
  assert.deepEqual(bytes(...push(new PacketReader(), [start, next])), bytes("next"), "its end was lost");
  const both = lacedPage(Buffer.from("endnext"), [3, 4], CONTINUED);
  assert.deepEqual(bytes(...push(new PacketReader(), [both, end])), bytes("next"), "its beginning was lost");
});

test("a page of another version of Ogg is none", () => {
  const page = lacedPage(Buffer.from("aa"), [2], 0);
  page[4] = 1;
  seal(page);
  const reader = new PacketReader();
  assert.deepEqual(reader.push(page), []);
  assert.equal(reader.skippedBytes, page.length);
});

test("several packets in one page all come out", () => {
  const page = lacedPage(Buffer.from("aabbb"), [2, 3], 0);
  assert.deepEqual(bytes(...new PacketReader().push(page)), bytes("aa", "bbb"));
});

test("an Opus stream begins with its headers and counts 48 kHz samples", () => {
  const writer = new OpusStreamWriter();
  const first = new PacketReader().push(writer.write(Uint8Array.of(1, 2, 3), 20));
  assert.equal(Buffer.from(first[0].subarray(0, 8)).toString(), "OpusHead");
  assert.equal(Buffer.from(first[1].subarray(0, 8)).toString(), "OpusTags");
  assert.deepEqual([...first[2]], [1, 2, 3]);
  const second = writer.write(Uint8Array.of(4), 20);
  assert.equal(new DataView(second.buffer).getBigUint64(6, true), 1920n);
  assert.equal(second.length, 27 + 1 + 1, "headers are not sent again");
});

test("a packet says how long its sound is", () => {
  const toc = (config, code) => (config << 3) | code;
  for (const [bytes, duration_ms] of [
    [[toc(0, 0)], 10],
    [[toc(11, 0)], 60],
    [[toc(13, 1)], 40],
    [[toc(16, 0)], 2.5],
    [[toc(31, 0)], 20],
    [[toc(31, 2), 5, 0], 40],
    [[toc(31, 3), 0x86], 120],
  ]) {
    assert.equal(packetDuration_ms(Uint8Array.from(bytes)), duration_ms, String(bytes));
  }
});

test("headers that come again are not sound", () => {
  const [one, two] = [new OpusStreamWriter(), new OpusStreamWriter()];
  const reader = new OpusStreamReader();
  const packets = push(reader, [one.write(Uint8Array.of(1), 20), two.write(Uint8Array.of(2), 20), one.write(Uint8Array.of(3), 20)]);
  assert.deepEqual(packets.map(([value]) => value), [1, 2, 3]);
});

/** Bit by bit, as the specification describes it. */
function referenceCrc(data) {
  let crc = 0;
  for (const byte of data) {
    for (let bit = 7; bit >= 0; bit--) {
      const carry = (crc >>> 31) ^ ((byte >> bit) & 1);
      crc = ((crc << 1) ^ (carry ? 0x04c11db7 : 0)) >>> 0;
    }
  }
  return crc;
}

/** One packet of 256 to 764 bytes over two pages. */
function spanning(packet) {
  const cut = 255;
  return [lacedPage(packet.subarray(0, cut), [255], 0), lacedPage(packet.subarray(cut), [255, packet.length - 510], CONTINUED)];
}

function lacedPage(body, lacing, flags) {
  const page = Buffer.concat([pageOf(new Uint8Array(0), header(1, flags)).subarray(0, 26), Buffer.from([lacing.length, ...lacing]), body]);
  return seal(page);
}

/** With the right checksum. */
function seal(page) {
  page.writeUInt32LE(0, 22);
  page.writeUInt32LE(referenceCrc(page), 22);
  return page;
}
