import assert from "node:assert/strict";
import { test } from "node:test";

import { NOTICES, noticeOfState } from "../../../clients/web/js/view/notices.js";

test("every way a connection can end has a message, except hanging up", () => {
  for (const why of ["ended", "unreachable", "full", "refused", "protocol", "lost", "failed"]) {
    const notice = noticeOfState("closed", { why, detail: "the queue holds 16" });
    assert.ok(notice.title && notice.text.includes("the queue holds 16"), why);
    assert.deepEqual(notice.actions, ["connect"], why);
  }
  assert.equal(noticeOfState("closed", { why: "user", detail: "" }), null);
  assert.equal(noticeOfState("talking", {}), null);
});

test("a conversation that the server keeps can be gone on with, or left for a new one", () => {
  const notice = noticeOfState("closed", { why: "lost", detail: "no answer", kept_ms: 40_000 });
  assert.deepEqual(notice.actions, ["go-on", "new"]);
  assert.match(notice.text, /no answer.*keeps the conversation/);
  assert.deepEqual(noticeOfState("closed", { why: "lost", detail: "", kept_ms: 0 }).actions, ["connect"]);
  assert.deepEqual(NOTICES.forgotten().actions, ["new"]);
});

test("every way the sound can fail has a message", () => {
  for (const code of ["insecure", "no-codec", "mic-denied", "mic-missing", "mic-busy", "mic-lost", "sound-failed", "sound-paused", "codec-failed"]) {
    const { title, text, tone } = NOTICES[code]("");
    assert.ok(title && text && ["error", "warning"].includes(tone), code);
  }
});

test("the place in the queue is said in words", () => {
  assert.equal(NOTICES.queued({ position: 3, waiting: 5 }).title, "You are number 3 in the queue");
  assert.equal(NOTICES.queued({ position: 1, waiting: 1 }).title, "You are next");
  assert.match(NOTICES.queued({ position: 1 }).text, /All places are taken/);
});

test("what a server says is a sentence, with one full stop", () => {
  assert.equal(noticeOfState("closed", { why: "refused", detail: "no token." }).text, "no token.");
  assert.match(noticeOfState("closed", { why: "full", detail: "" }).text, /the queue is full too\. Try/);
  assert.match(noticeOfState("closed", { why: "full", detail: "8 talk." }).text, /too\. \(8 talk\.\) Try/);
});
