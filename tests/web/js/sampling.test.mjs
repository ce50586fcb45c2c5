import assert from "node:assert/strict";
import { test } from "node:test";

import { cleanSeed, PARAMETERS, randomSeeds, Sampling } from "../../../clients/web/js/call/sampling.js";

test("the parameters are those of upstream's page, their limits those of the servers", () => {
  const table = PARAMETERS.map(({ name, min, max, step }) => [name, min, max, step]);
  assert.deepEqual(table, [
    ["text_temperature", 0, 2, 0.01],
    ["text_topk", 1, 500, 1],
    ["audio_temperature", 0, 2, 0.01],
    ["audio_topk", 1, 500, 1],
    ["pad_mult", -4, 4, 0.05],
    ["repetition_penalty", 1, 2, 0.01],
    ["repetition_penalty_context", 0, 200, 1],
  ]);
});

test("what nobody has chosen is the checkpoint's own, and is not asked for", () => {
  const sampling = new Sampling();
  assert.deepEqual(sampling.chosen, {});
  for (const { name, rest } of PARAMETERS) {
    assert.equal(sampling.describe(name), "checkpoint's own");
    assert.equal(sampling.isChosen(name), false);
    assert.equal(sampling.valueOf(name), rest);
  }
});

test("what was chosen is asked for, also where it equals what would have been so anyway", () => {
  const sampling = new Sampling();
  sampling.noteInUse({ text_temperature: 0.7 }, {});
  sampling.choose("text_temperature", 0.7);
  sampling.choose("audio_topk", 250);
  assert.deepEqual(sampling.chosen, { text_temperature: 0.7, audio_topk: 250 });
  assert.equal(sampling.describe("text_temperature"), "0.7");
});

test("greedy can be chosen, and is said in words", () => {
  const sampling = new Sampling();
  sampling.choose("text_temperature", 0);
  assert.deepEqual(sampling.chosen, { text_temperature: 0 });
  assert.equal(sampling.describe("text_temperature"), "0 (greedy)");
  sampling.choose("pad_mult", 0);
  assert.equal(sampling.describe("pad_mult"), "0");
});

test("the server tells the checkpoint's own values, except of what it was asked for", () => {
  const sampling = new Sampling();
  sampling.choose("text_topk", 30);
  const asked = sampling.chosen;
  sampling.noteInUse({ text_temperature: 0, text_topk: 30, audio_temperature: 0.80000001, pad_mult: null }, asked);
  assert.equal(sampling.describe("text_temperature"), "0 (greedy), checkpoint's own");
  assert.equal(sampling.valueOf("text_temperature"), 0);
  assert.equal(sampling.describe("audio_temperature"), "0.8, checkpoint's own");
  assert.equal(sampling.describe("pad_mult"), "checkpoint's own");
  assert.equal(sampling.describe("text_topk"), "30");
  assert.deepEqual(sampling.chosen, { text_topk: 30 });
  sampling.reset();
  assert.equal(sampling.describe("text_topk"), "checkpoint's own", "nobody has said what that is");
});

test("the repetition penalty is chosen together with the number of words that it looks back", () => {
  const sampling = new Sampling();
  sampling.choose("repetition_penalty", 1.2);
  assert.deepEqual(sampling.chosen, { repetition_penalty: 1.2, repetition_penalty_context: 64 });
  assert.equal(sampling.describe("repetition_penalty_context"), "64");
  const told = new Sampling();
  told.noteInUse({ repetition_penalty: 1.1 }, {});
  told.choose("repetition_penalty_context", 0);
  assert.deepEqual(told.chosen, { repetition_penalty: 1.1, repetition_penalty_context: 0 });
});

test("of what was stored only what makes sense is chosen", () => {
  const stored = { text_temperature: 99, text_topk: "30", audio_topk: NaN, pad_mult: -9, repetition_penalty: 1.2, unknown: 1 };
  assert.deepEqual(new Sampling(stored).chosen, { text_temperature: 2, pad_mult: -4 });
  for (const damaged of [undefined, null, 3, "text", []]) assert.deepEqual(new Sampling(damaged).chosen, {});
});

test("seeds are whole numbers up to a million", () => {
  assert.deepEqual(randomSeeds(() => 0.9999999), { text_seed: 1_000_000, audio_seed: 1_000_000 });
  assert.equal(cleanSeed("12", 5), 12);
  for (const wrong of ["", "1.5", "-1", "x", "1000001"]) assert.equal(cleanSeed(wrong, 5), 5);
});
