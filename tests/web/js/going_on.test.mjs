import assert from "node:assert/strict";
import { test } from "node:test";

import { KEPT_MS } from "../../../clients/web/js/wire/connection.js";
import { opened } from "./host.mjs";

const RETRIES_MS = 15_500;

/** A conversation of 6 s whose connection is lost, and every attempt to come back. */
function lost(metadata = {}) {
  const all = opened();
  const { host } = all;
  host.talk();
  host.tell({ resume: "key", ...metadata });
  host.pass(6_000);
  host.hangUp();
  for (const delay_ms of [500, 1000, 2000, 4000, 8000]) {
    host.pass(delay_ms);
    host.hangUp();
  }
  return all;
}

test("after the last attempt the server still keeps the conversation for what is left of a minute", () => {
  const { last } = lost();
  assert.deepEqual(last("state").slice(1), ["closed", { why: "lost", detail: "", kept_ms: KEPT_MS - RETRIES_MS }]);
});

test("a server that says how long it keeps a conversation is believed", () => {
  assert.equal(lost({ resume_keep_s: 600 }).last("state")[2].kept_ms, 600_000 - RETRIES_MS);
  assert.equal(lost({ resume_keep_s: 10 }).last("state")[2].kept_ms, 0);
});

test("without a key there is nothing to go on with", () => {
  assert.equal(lost({ resume: null }).last("state")[2].kept_ms, 0);
});

test("going on shows the key, and attempts are counted anew", () => {
  const { host, connection, last } = lost();
  host.pass(20_000);
  connection.goOn();
  assert.equal(connection.state, "connecting");
  assert.deepEqual(host.socket.protocols, ["moshi-cluster", "moshi-cluster.resume.key"]);
  host.hangUp();
  assert.deepEqual([connection.state, last("state")[2].attempt], ["resuming", 1]);
  host.pass(500);
  host.accept();
  host.tell({ resumed: true });
  host.say(0);
  assert.deepEqual(last("ready"), ["ready", { resumed: true, again: true }]);
  connection.goOn();
  assert.equal(connection.state, "talking", "one that runs is left alone");
});

test("a server that has forgotten the conversation says so, and another begins", () => {
  const { host, connection, last } = lost();
  connection.goOn();
  host.accept();
  host.tell({ resumed: false });
  host.say(0);
  assert.deepEqual(last("ready"), ["ready", { resumed: false, again: true }]);
});

test("a server that is full when the caller comes back keeps the conversation; one that refuses does not", () => {
  for (const [code, kept_ms] of [[1013, KEPT_MS - 500], [1008, 0], [1000, 0]]) {
    const { host, last } = opened();
    host.talk();
    host.tell({ resume: "key" });
    host.hangUp();
    host.pass(500);
    host.accept();
    host.hangUp(code);
    assert.equal(last("state")[2].kept_ms, kept_ms, `close code ${code}`);
  }
});

test("whoever hangs up has ended it", () => {
  const { host, connection, last } = opened();
  host.talk();
  host.tell({ resume: "key" });
  connection.close();
  assert.equal(last("state")[2].kept_ms, 0);
});
