import assert from "node:assert/strict";
import { test } from "node:test";

import { Answers, BREATH_MS, PAUSE_MS, SPEECH_LOUDNESS } from "../../../clients/web/js/call/answers.js";
import { loudness } from "../../../clients/web/js/call/levels.js";

/** A conversation on a clock of its own: `wait` in silence, `say` by the caller, `word` of Moshi. */
function conversation() {
  const answers = new Answers();
  let now_ms = 1_000;
  const pass = (ms, level) => {
    for (let at = 0; at < ms; at += 20) answers.callerHeard(level, 20);
    now_ms += ms;
  };
  return { wait: (ms) => pass(ms, 0), say: (ms, level = 0.6) => pass(ms, level), word: () => answers.beginsWithText(now_ms) };
}

test("the first word begins nothing anew, and words of one breath belong together", () => {
  const { wait, word } = conversation();
  wait(10_000);
  assert.equal(word(), false);
  for (const pause_ms of [80, 320, 1_000, PAUSE_MS - 1]) {
    wait(pause_ms);
    assert.equal(word(), false, `${pause_ms} ms`);
  }
});

test("after a pause another answer begins, once", () => {
  const { wait, word } = conversation();
  word();
  wait(PAUSE_MS);
  assert.equal(word(), true);
  wait(240);
  assert.equal(word(), false);
});

test("after the caller has spoken another answer begins sooner", () => {
  const { wait, say, word } = conversation();
  word();
  say(800);
  assert.equal(word(), true);
  wait(BREATH_MS);
  assert.equal(word(), false, "nobody has spoken since");
});

test("a caller who agrees while Moshi speaks interrupts nothing, nor does a cough or a noise", () => {
  const { wait, say, word } = conversation();
  word();
  say(400);
  assert.equal(word(), false, "Moshi did not stop");
  say(200);
  wait(1_000);
  assert.equal(word(), false, "too short");
  say(1_500, SPEECH_LOUDNESS - 0.05);
  assert.equal(word(), false, "too quiet");
});

test("speech at the level of a microphone is speech, the noise of a room is not", () => {
  const voice = Float32Array.from({ length: 480 }, (_, i) => 0.05 * Math.sin(i / 10));
  assert.ok(loudness(voice) > SPEECH_LOUDNESS);
  assert.ok(loudness(voice.map((value) => value / 20)) < SPEECH_LOUDNESS);
});
