import assert from "node:assert/strict";
import { test } from "node:test";

import { Recording, wavHeader } from "../../../clients/web/js/audio/recording.js";
import { PairCollector } from "../../../clients/web/js/audio/voices.worklet.js";

test("a recording is a WAV file with the caller left and Moshi right", async () => {
  const recording = new Recording(24000);
  recording.add(Float32Array.of(0.5, 2), Float32Array.of(-0.25, -2));
  const view = new DataView(await recording.toBlob().arrayBuffer());
  assert.equal(view.byteLength, 44 + 8);
  assert.equal(view.getUint32(40, true), 8);
  assert.deepEqual([44, 46, 48, 50].map((at) => view.getInt16(at, true)), [16384, -8192, 32767, -32768]);
});

test("a long recording is whole, also while it goes on", async () => {
  const recording = new Recording(48000);
  const second = [new Float32Array(48000).fill(0.5), new Float32Array(48000)];
  for (let i = 0; i < 25; i++) recording.add(...second);
  assert.equal(recording.length_s, 25);
  assert.equal(recording.toBlob().size, 44 + 25 * 24000 * 4);
  recording.add(...second);
  const blob = recording.toBlob();
  assert.equal(blob.size, 44 + 26 * 24000 * 4);
  const values = new Int16Array(await blob.slice(44).arrayBuffer());
  assert.ok(values.every((value, i) => i < 400 || value === (i % 2 ? 0 : values[400])), "no seam between its parts");
});

test("the header is 44 bytes that say 24 kHz, stereo, 16 bit", () => {
  const view = new DataView(wavHeader(10).buffer);
  assert.deepEqual([view.getUint16(22, true), view.getUint32(24, true), view.getUint16(34, true)], [2, 24000, 16]);
  assert.deepEqual([view.getUint32(4, true), view.getUint32(28, true), view.getUint16(32, true)], [36 + 40, 96000, 4]);
});

test("both voices are handed out side by side, silence where one is missing", () => {
  const collector = new PairCollector(5);
  const pairs = [];
  collector.push(Float32Array.of(1, 2, 3), undefined, 3, (pair) => pairs.push(pair));
  collector.push(Float32Array.of(4, 5, 6, 7, 8, 9, 10), new Float32Array(7).fill(-1), 7, (pair) => pairs.push(pair));
  assert.deepEqual(pairs.map(({ mine }) => [...mine]), [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10]]);
  assert.deepEqual(pairs.map(({ reply }) => [...reply]), [[0, 0, 0, -1, -1], [-1, -1, -1, -1, -1]]);
});
