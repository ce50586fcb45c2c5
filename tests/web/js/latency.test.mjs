import assert from "node:assert/strict";
import { test } from "node:test";

import { HOPS, LatencyMeter, MovingAverage } from "../../../clients/web/js/call/latency.js";
import { Level, loudness } from "../../../clients/web/js/call/levels.js";

const near = (actual, expected, tolerance = 0.01) => assert.ok(Math.abs(actual - expected) <= tolerance, `${actual}, not ${expected}`);
const playback = (played_s, dropped_s = 0, queued_s = 0.05) => ({ played_s, dropped_s, queued_s });
const CAPTURE_MS = 16.5; // half a packet and Opus' own delay
const sum = (hops) => Object.values(hops).reduce((all, value) => all + value, 0);

test("the average starts at its first value and follows with 0.85", () => {
  const average = new MovingAverage();
  assert.equal(average.value, null);
  average.add(10);
  near(average.value, 10);
  average.add(20);
  near(average.value, (0.85 * 10 + 20) / 1.85);
});

test("latency is what was sent less what was played or dropped, and the device", () => {
  const meter = new LatencyMeter();
  meter.sent(5);
  assert.equal(meter.total_ms, null);
  meter.played(playback(0), 0.03);
  assert.equal(meter.total_ms, null, "nothing was heard yet");
  meter.played(playback(4.6, 0.2), 0.03);
  near(meter.total_ms, 230 + CAPTURE_MS);
});

test("frames that the server filled in or dropped are no latency", () => {
  const meter = new LatencyMeter();
  meter.sent(10);
  meter.noteMetadata({ counters: { frames_filled: 5, frames_dropped: 10, reply_frames_dropped: 0 } });
  meter.played(playback(9.4), 0);
  near(meter.total_ms, 1000 * (10 - 5 * 0.08 - 9.4) + CAPTURE_MS);
});

test("of a resumed conversation only what happened since counts", () => {
  const meter = new LatencyMeter(true);
  meter.sent(2);
  meter.noteMetadata({ counters: { frames_dropped: 50 } });
  meter.noteMetadata({ counters: { frames_dropped: 51 } });
  meter.played(playback(1.72), 0);
  near(meter.total_ms, 200 + CAPTURE_MS);
});

test("the hops add up to the whole", () => {
  const meter = new LatencyMeter();
  meter.sent(5);
  meter.noteRoundTrip(12);
  meter.noteMetadata({ latency_ms: { edge_in: 1, encode: 10, lm: 30, decode: 10, edge_out: 1, turnaround: 55 } });
  meter.played(playback(4.8), 0.02);
  const hops = meter.hops_ms;
  near(sum(hops), 220 + CAPTURE_MS);
  near(hops.lm, 30);
  near(hops.network, 12);
  near(hops.playback, 50);
  near(hops.framing, 220 - 52 - 12 - 50 - 20);
  for (const name of Object.keys(hops)) assert.ok(HOPS.some((hop) => hop.name === name), name);
});

test("of a server that says nothing the rest is server and network", () => {
  const meter = new LatencyMeter();
  meter.sent(5);
  meter.played(playback(4.8), 0.02);
  near(meter.hops_ms.server, 150);
  near(sum(meter.hops_ms), 220 + CAPTURE_MS);
});

test("from the first sound on the parts are the whole, whenever the server's figures come", () => {
  const meter = new LatencyMeter();
  for (let at_ms = 20; at_ms <= 6_000; at_ms += 20) {
    meter.sent(0.02);
    if (at_ms === 1_500) meter.noteRoundTrip(90);
    if (at_ms === 2_000) meter.noteMetadata({ latency_ms: {}, counters: {} });
    if (at_ms === 3_000) meter.noteMetadata({ latency_ms: { lm: 40, encode: 12 }, counters: { frames_filled: 3 } });
    if (at_ms % 60 !== 0) continue;
    const played_s = Math.max(0, at_ms - 400) / 1000;
    meter.played(playback(played_s, at_ms > 800 ? 0.1 : 0, 0.08), 0.04);
    assert.equal(meter.hops_ms === null, meter.total_ms === null);
    if (meter.hops_ms) near(sum(meter.hops_ms), meter.total_ms, 1e-6);
  }
  assert.equal("server" in meter.hops_ms, false);
});

test("parts that exceed the whole shrink together", () => {
  const meter = new LatencyMeter();
  meter.sent(5);
  meter.noteMetadata({ latency_ms: { lm: 900, encode: "?" } });
  meter.played(playback(4.9), 0);
  near(sum(meter.hops_ms), 100 + CAPTURE_MS);
  near(meter.hops_ms.lm, ((100 + CAPTURE_MS) * 900) / (950 + CAPTURE_MS));
});

test("senseless metadata changes nothing", () => {
  const meter = new LatencyMeter();
  meter.noteMetadata({ latency_ms: 3, counters: "many" });
  meter.sent(1);
  meter.played(playback(0.9), 0);
  near(meter.total_ms, 100 + CAPTURE_MS);
});

test("loudness is zero for silence, one for full scale, linear in decibels", () => {
  assert.equal(loudness(new Float32Array(100)), 0);
  near(loudness(new Float32Array(100).fill(1)), 1);
  near(loudness(new Float32Array(100).fill(10 ** -1.5)), 0.5);
});

test("a level rises at once and falls slowly", () => {
  const level = new Level();
  level.add(new Float32Array(480).fill(1), 24000);
  near(level.value, 1);
  level.add(new Float32Array(480), 24000);
  near(level.value, 0.95);
});
