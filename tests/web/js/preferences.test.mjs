import assert from "node:assert/strict";
import { test } from "node:test";

import { Preferences } from "../../../clients/web/js/view/preferences.js";

test("preferences survive a visit, and damaged ones do no harm", () => {
  const stored = new Map();
  const storage = { getItem: (key) => stored.get(key) ?? null, setItem: (key, value) => stored.set(key, value) };
  const first = new Preferences(storage);
  first.sampling.choose("text_topk", 99);
  first.choices.theme = "dark";
  first.save();
  assert.deepEqual(new Preferences(storage).sampling.chosen, { text_topk: 99 });
  assert.equal(new Preferences(storage).choices.theme, "dark");
  for (const damaged of ["{", "null", '{"choices":{"theme":"pink","record":"yes"}}']) {
    stored.set([...stored.keys()][0], damaged);
    const { choices, sampling } = new Preferences(storage);
    assert.equal(choices.theme, "system");
    assert.equal(choices.record, true);
    assert.deepEqual(sampling.chosen, {});
  }
  assert.equal(new Preferences(null).choices.echoCancellation, true);
});
