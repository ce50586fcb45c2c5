import assert from "node:assert/strict";
import { test } from "node:test";

import { Connection } from "../../../clients/web/js/wire/connection.js";
import { ERROR, Host, opened } from "./host.mjs";

test("a conversation: open, wait, talk, hang up", () => {
  const { host, connection, states, last } = opened();
  assert.equal(connection.send(Uint8Array.of(1)), false, "nothing is sent before the handshake");
  host.talk();
  assert.equal(connection.send(Uint8Array.of(1)), true);
  host.say(2, " hello");
  assert.deepEqual(last("text"), ["text", " hello", undefined]);
  assert.deepEqual(last("ready"), ["ready", { resumed: false, again: false }]);
  connection.close();
  assert.deepEqual(states(), ["connecting", "waiting", "talking", "closed"]);
  assert.equal(last("state")[2].why, "user");
  assert.equal(host.timers, 0);
});

test("a server that never answers is unreachable, whether it refuses or is silent", () => {
  const refused = opened();
  refused.host.hangUp();
  assert.equal(refused.last("state")[2].why, "unreachable");
  const silent = opened();
  silent.host.pass(10_000);
  assert.equal(silent.last("state")[2].why, "unreachable");
});

test("an address that is none is unreachable", () => {
  const host = new Host();
  host.open = () => {
    throw new SyntaxError("invalid URL");
  };
  const states = [];
  new Connection(() => "", { state: (...state) => states.push(state) }, host).open();
  assert.deepEqual(states.at(-1), ["closed", { why: "unreachable", detail: "invalid URL", kept_ms: 0 }]);
});

for (const [code, why] of [[1000, "ended"], [1008, "refused"], [1013, "full"], [1002, "protocol"], [1009, "protocol"]]) {
  test(`close code ${code} ends it for good: ${why}`, () => {
    const { host, last } = opened();
    host.accept();
    host.say(ERROR, "the reason");
    host.hangUp(code);
    assert.deepEqual(last("state"), ["state", "closed", { why, detail: "the reason", kept_ms: 0 }]);
    host.pass(60_000);
    assert.equal(host.sockets.length, 1);
  });
}

test("a server that fails before the first conversation is not asked again", () => {
  const { host, last } = opened();
  host.accept();
  host.hangUp(1011, "");
  assert.equal(last("state")[2].why, "failed");
});

test("upstream's silent wait for a slot has no limit, a queue that falls silent has", () => {
  const upstream = opened();
  upstream.host.accept();
  upstream.host.pass(600_000);
  assert.equal(upstream.connection.state, "waiting");
  const queue = opened();
  queue.host.accept();
  queue.host.tell({ queue: { position: 2, waiting: 3 } });
  queue.host.pass(19_000);
  assert.equal(queue.connection.state, "waiting");
  queue.host.pass(2_000);
  assert.equal(queue.connection.state, "closed");
});

test("a silent server is noticed after 2 s and lost after 10", () => {
  const { host, connection, last } = opened();
  host.talk();
  host.pass(1_900);
  assert.equal(last("silence"), undefined);
  host.pass(600);
  assert.ok(last("silence")[1] >= 2_000);
  host.say(2, "x");
  assert.equal(last("silence")[1], 0);
  host.pass(9_400);
  assert.equal(connection.state, "talking");
  host.pass(700);
  assert.equal(connection.state, "resuming");
  assert.equal(host.sockets[0].readyState, 3, "the old socket is closed");
});

test("a lost conversation is resumed with the server's key", () => {
  const { host, log, last } = opened();
  host.talk();
  host.tell({ resume: "key" });
  host.pass(5_500);
  host.hangUp();
  assert.deepEqual(last("state").slice(1, 2), ["resuming"]);
  host.pass(499);
  assert.equal(host.sockets.length, 1);
  host.pass(1);
  assert.deepEqual(host.sockets[0].protocols, [], "what other servers do not know is not offered to them");
  assert.equal(host.socket.url, "ws://host/api/chat");
  assert.deepEqual(host.socket.protocols, ["moshi-cluster", "moshi-cluster.resume.key"]);
  host.accept();
  host.tell({ resumed: true });
  host.say(0);
  assert.deepEqual(last("ready"), ["ready", { resumed: true, again: true }]);
  assert.equal(log.filter(([name]) => name === "ready").length, 2);
});

test("attempts come ever later, five in all, then it is lost", () => {
  const { host, last } = opened();
  host.talk();
  host.hangUp();
  for (const [index, delay_ms] of [500, 1000, 2000, 4000, 8000].entries()) {
    assert.deepEqual([last("state")[2].attempt, last("state")[2].delay_ms], [index + 1, delay_ms]);
    host.pass(delay_ms);
    host.hangUp();
  }
  assert.equal(last("state")[2].why, "lost");
  host.pass(60_000);
  assert.equal(host.sockets.length, 6);
});

test("a server that fails right after every handshake is given up too; one that held is not", () => {
  const failing = opened();
  failing.host.talk();
  for (let i = 0; i < 5; i++) {
    failing.host.hangUp(1011);
    failing.host.pass(8_000);
    failing.host.talk();
  }
  failing.host.hangUp(1011);
  assert.equal(failing.last("state")[2].why, "lost");
  const held = opened();
  for (let i = 0; i < 10; i++) {
    held.host.talk();
    for (let second = 0; second < 6; second++) {
      held.host.say(2, "x");
      held.host.pass(1_000);
    }
    held.host.hangUp(1001);
    assert.deepEqual([held.connection.state, held.last("state")[2].attempt], ["resuming", 1]);
    held.host.pass(500);
  }
});

test("when the network is back the next attempt is now", () => {
  const { host, connection } = opened();
  host.talk();
  host.hangUp();
  connection.resumeNow();
  assert.equal(host.sockets.length, 2);
  connection.resumeNow();
  assert.equal(host.sockets.length, 2, "one attempt at a time");
});

test("what an old socket still says is not heard", () => {
  const { host, log, connection } = opened();
  host.talk();
  const old = host.socket;
  host.hangUp();
  host.pass(500);
  host.talk();
  const heard = log.length;
  old.onmessage({ data: Uint8Array.of(2, 120).buffer });
  old.onclose({ code: 1000 });
  assert.equal(log.length, heard);
  assert.equal(connection.state, "talking");
});

test("pings go to servers that answer them, one at a time, and measure the network", () => {
  const { host, last } = opened();
  host.accept();
  host.tell({ server: "moshi-cluster" });
  host.say(0);
  host.pass(1_000);
  assert.deepEqual(host.socket.sent.map(([kind]) => kind), [6]);
  host.pass(1_500);
  assert.equal(host.socket.sent.length, 1);
  host.say(6);
  assert.deepEqual(last("roundTrip"), ["roundTrip", 1_500]);
  host.pass(500);
  assert.equal(host.socket.sent.length, 2);
});

test("upstream's servers get no pings", () => {
  const { host } = opened();
  host.talk();
  host.pass(5_000);
  assert.equal(host.socket.sent.length, 0);
});

test("a network that takes nothing more is not fed", () => {
  const { host, connection } = opened();
  host.talk();
  host.socket.bufferedAmount = 1e6;
  assert.equal(connection.send(Uint8Array.of(1)), false);
});
