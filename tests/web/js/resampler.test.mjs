import assert from "node:assert/strict";
import { test } from "node:test";

import { Resampler } from "../../../clients/web/js/audio/resampler.js";
import { cutsOf, randomSource } from "./random.mjs";

const RATES = [[48000, 24000], [24000, 48000], [44100, 24000], [48000, 44100], [16000, 24000], [96000, 24000]];
const tone = (frequency_hz, rate_hz, length_s) =>
  Float32Array.from({ length: rate_hz * length_s }, (_, i) => Math.sin((2 * Math.PI * frequency_hz * i) / rate_hz));
const rms = (samples) => Math.sqrt(samples.reduce((sum, value) => sum + value * value, 0) / samples.length);

for (const [from_hz, to_hz] of RATES) {
  test(`a tone from ${from_hz} to ${to_hz} Hz is the same tone, a known moment later`, () => {
    const resampler = new Resampler(from_hz, to_hz);
    const output = resampler.push(tone(1000, from_hz, 0.2));
    assert.ok(resampler.delay_s < 0.0015);
    const start = Math.ceil(2 * resampler.delay_s * to_hz);
    const error = output
      .slice(start)
      .map((value, i) => value - Math.sin(2 * Math.PI * 1000 * ((i + start) / to_hz - resampler.delay_s)));
    assert.ok(rms(error) < 0.001, `error ${rms(error)}`);
  });
}

test("what the lower rate cannot carry is gone", () => {
  const output = new Resampler(48000, 24000).push(tone(14000, 48000, 0.2));
  assert.ok(rms(output.slice(100)) < 0.001);
});

test("the result does not depend on how the stream is cut", () => {
  const random = randomSource(4);
  const input = Float32Array.from({ length: 8820 }, () => random() - 0.5);
  const whole = new Resampler(44100, 24000).push(input);
  const resampler = new Resampler(44100, 24000);
  const parts = cutsOf(random, input).flatMap((part) => [...resampler.push(part)]);
  assert.equal(whole.length, 4800);
  assert.deepEqual(parts, [...whole]);
});

test("equal rates pass samples on untouched", () => {
  const samples = Float32Array.of(1, 2, 3);
  assert.equal(new Resampler(24000, 24000).push(samples), samples);
});
