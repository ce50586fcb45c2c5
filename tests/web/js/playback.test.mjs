import assert from "node:assert/strict";
import { test } from "node:test";

import { PlaybackBuffer } from "../../../clients/web/js/audio/playback.worklet.js";

const RATE_HZ = 24000;
const BLOCK = 120; // 5 ms
const samples = (ms) => (RATE_HZ / 1000) * ms;
const ones = (ms) => new Float32Array(samples(ms)).fill(1);
const round = (seconds) => Math.round(seconds * 1000);

function pull(buffer, ms) {
  const output = [];
  for (let at = 0; at < samples(ms); at += BLOCK) {
    const block = new Float32Array(BLOCK);
    buffer.pull(block);
    output.push(...block);
  }
  return output;
}

const limits = (buffer) => {
  const { start_s, limit_s } = buffer.takeStatistics();
  return [round(start_s), round(limit_s)];
};

test("playback starts with 80 ms queued and 10 ms of patience, fading in", () => {
  const buffer = new PlaybackBuffer(RATE_HZ);
  buffer.push(ones(79));
  assert.ok(pull(buffer, 20).every((value) => value === 0), "not enough to start");
  buffer.push(ones(1));
  const output = pull(buffer, 20);
  assert.ok(output.slice(0, samples(10)).every((value) => value === 0), "waits");
  assert.ok(output[samples(10)] > 0 && output[samples(10)] < 0.1, "fades in");
  assert.equal(output[samples(15)], 1);
});

test("from 100 ms on the oldest samples are dropped down to 90", () => {
  const buffer = new PlaybackBuffer(RATE_HZ);
  buffer.push(ones(99));
  assert.equal(buffer.dropped, 0);
  buffer.push(new Float32Array(samples(1)).fill(0.5));
  assert.equal(buffer.queued, samples(90));
  assert.equal(buffer.dropped, samples(10));
  const output = pull(buffer, 110);
  assert.equal(output.indexOf(0.5), samples(10 + 89), "the newest are kept");
});

test("each drop allows 5 ms more, up to 240 in all; each underrun waits 5 ms longer", () => {
  const buffer = new PlaybackBuffer(RATE_HZ);
  assert.deepEqual(limits(buffer), [90, 100]);
  buffer.push(ones(200));
  assert.deepEqual(limits(buffer), [90, 105]);
  pull(buffer, 200);
  assert.equal(buffer.underruns, 1);
  assert.deepEqual(limits(buffer), [95, 110]);
  for (let i = 0; i < 40; i++) {
    buffer.push(ones(400));
    pull(buffer, 400);
  }
  assert.deepEqual(limits(buffer), [160, 240]);
});

test("an underrun fades out, starts over and is counted as missed", () => {
  const buffer = new PlaybackBuffer(RATE_HZ);
  buffer.push(ones(82));
  const output = pull(buffer, 100);
  const last = output.slice(samples(90), samples(92));
  assert.ok(last.every((value, i) => i === 0 || value < last[i - 1]), "fades out");
  assert.equal(buffer.missed, samples(8));
  buffer.push(ones(70));
  assert.ok(pull(buffer, 50).every((value) => value === 0), "80 ms are needed again");
  assert.equal(buffer.missed, samples(58));
  assert.equal(buffer.played, samples(82));
});

test("a stall leaves no delay behind", () => {
  const buffer = new PlaybackBuffer(RATE_HZ);
  const frame = () => buffer.push(ones(80));
  for (let i = 0; i < 12; i++) {
    frame();
    pull(buffer, 80);
  }
  pull(buffer, 2000); // nothing arrives
  for (let i = 0; i < 25; i++) frame(); // then all of it at once
  assert.ok(buffer.queued <= samples(160));
  for (let i = 0; i < 12; i++) {
    pull(buffer, 80);
    frame();
  }
  assert.ok(buffer.queued < samples(240));
  assert.equal(buffer.played + buffer.dropped + buffer.queued, samples(80 * (12 + 25 + 12)), "every sample is accounted for");
});

test("the range of the queue is that since it was last asked for", () => {
  const buffer = new PlaybackBuffer(RATE_HZ);
  buffer.push(ones(90));
  pull(buffer, 30);
  const { queuedMin_s, queuedMax_s } = buffer.takeStatistics();
  assert.deepEqual([round(queuedMin_s), round(queuedMax_s)], [75, 90]);
  pull(buffer, 5);
  assert.equal(round(buffer.takeStatistics().queuedMax_s), 70);
});

test("a reset forgets everything, the grown limits too", () => {
  const buffer = new PlaybackBuffer(RATE_HZ);
  buffer.push(ones(300));
  pull(buffer, 300);
  buffer.reset();
  assert.deepEqual(limits(buffer), [90, 100]);
  assert.deepEqual([buffer.queued, buffer.played, buffer.dropped, buffer.missed], [0, 0, 0, 0]);
});
