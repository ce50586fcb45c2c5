import assert from "node:assert/strict";
import { test } from "node:test";

import { Preferences } from "../../../clients/web/js/view/preferences.js";
import {
  chatUrl,
  cleanParameters,
  cleanSeed,
  initialParameters,
  PARAMETERS,
  randomSeeds,
} from "../../../clients/web/js/wire/parameters.js";

const PAGE = new URL("http://moshi.example:8998/");

test("the parameters are those of upstream's page", () => {
  const table = PARAMETERS.map(({ name, initial, min, max, step }) => [name, initial, min, max, step]);
  assert.deepEqual(table, [
    ["text_temperature", 0.7, 0.2, 1.2, 0.01],
    ["text_topk", 25, 10, 500, 1],
    ["audio_temperature", 0.8, 0.2, 1.2, 0.01],
    ["audio_topk", 250, 10, 500, 1],
    ["pad_mult", 0, -4, 4, 0.05],
    ["repetition_penalty", 1, 1, 2, 0.01],
    ["repetition_penalty_context", 64, 0, 200, 1],
  ]);
});

test("changed parameters and both seeds travel in the address", () => {
  const changed = { text_temperature: 0.5, text_topk: 30, audio_temperature: 0.9, audio_topk: 99, pad_mult: 1 };
  const url = new URL(chatUrl(PAGE, { ...initialParameters(), ...changed, text_seed: 7, audio_seed: 8 }));
  assert.equal(`${url.protocol}//${url.host}${url.pathname}`, "ws://moshi.example:8998/api/chat");
  assert.deepEqual(Object.fromEntries(url.searchParams), {
    text_temperature: "0.5",
    text_topk: "30",
    audio_temperature: "0.9",
    audio_topk: "99",
    pad_mult: "1",
    text_seed: "7",
    audio_seed: "8",
  });
});

test("what nobody has changed is left to the model", () => {
  assert.equal(new URL(chatUrl(PAGE, initialParameters())).search, "");
});

test("the repetition penalty travels with the number of words that it looks back", () => {
  const url = new URL(chatUrl(PAGE, { ...initialParameters(), repetition_penalty: 1.2 }));
  assert.equal(url.search, "?repetition_penalty=1.2&repetition_penalty_context=64");
});

test("an https page calls a wss server, another one if its address says so, with its credentials", () => {
  const page = new URL("https://moshi.example/?worker_addr=gpu7:8998&token=a%26b&other=1");
  const url = new URL(chatUrl(page, {}, "key"));
  assert.equal(url.origin, "wss://gpu7:8998");
  assert.deepEqual(Object.fromEntries(url.searchParams), { token: "a&b", resume: "key" });
});

test("whatever was stored, the values are in range", () => {
  const values = cleanParameters({ text_temperature: 99, text_topk: "30", audio_topk: "many", pad_mult: -9, unknown: 1 });
  assert.deepEqual(values, { ...initialParameters(), text_temperature: 1.2, text_topk: 30, pad_mult: -4 });
  assert.deepEqual(cleanParameters(undefined), initialParameters());
});

test("seeds are whole numbers up to a million", () => {
  assert.deepEqual(randomSeeds(() => 0.9999999), { text_seed: 1_000_000, audio_seed: 1_000_000 });
  assert.equal(cleanSeed("12", 5), 12);
  for (const wrong of ["", "1.5", "-1", "x", "1000001"]) assert.equal(cleanSeed(wrong, 5), 5);
});

test("preferences survive a visit, and damaged ones do no harm", () => {
  const stored = new Map();
  const storage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) };
  const first = new Preferences(storage);
  first.parameters.text_topk = 99;
  first.choices.theme = "dark";
  first.save();
  assert.equal(new Preferences(storage).parameters.text_topk, 99);
  assert.equal(new Preferences(storage).choices.theme, "dark");
  for (const damaged of ["{", "null", '{"choices":{"theme":"pink","record":"yes"}}']) {
    stored.set([...stored.keys()][0], damaged);
    const { choices } = new Preferences(storage);
    assert.equal(choices.theme, "system");
    assert.equal(choices.record, true);
  }
  assert.equal(new Preferences(null).choices.echoCancellation, true);
});
