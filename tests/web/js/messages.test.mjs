import assert from "node:assert/strict";
import { test } from "node:test";

import { audioMessage, parse, pingMessage } from "../../../clients/web/js/wire/messages.js";

const message = (...bytes) => Uint8Array.from(bytes).buffer;
const withText = (kind, text) => message(kind, ...new TextEncoder().encode(text));

test("both forms of the handshake are understood", () => {
  assert.deepEqual(parse(message(0)), { kind: "handshake" });
  assert.deepEqual(parse(message(0, 0, 0, 0, 0, 0, 0, 0, 0)), { kind: "handshake" });
});

test("text keeps its leading space and its colour", () => {
  assert.deepEqual(parse(withText(2, " héllo")), { kind: "text", text: " héllo" });
  assert.deepEqual(parse(message(7, 3, 104, 105)), { kind: "text", text: "hi", colour: 3 });
});

test("metadata is an object or nothing", () => {
  assert.deepEqual(parse(withText(4, '{"queue":{"position":2}}')), { kind: "metadata", value: { queue: { position: 2 } } });
  for (const wrong of ["", "[1]", "null", "3", "{"]) assert.equal(parse(withText(4, wrong)).kind, "unknown");
});

test("what is not of this protocol is unknown, never an exception", () => {
  assert.equal(parse("a text frame").kind, "unknown");
  assert.equal(parse(message()).kind, "unknown");
  for (const kind of [3, 8, 9, 255]) assert.equal(parse(message(kind, 1, 2)).kind, "unknown");
  assert.deepEqual(parse(message(7)), { kind: "text", text: "", colour: 0 });
  assert.equal(parse(message(2, 0xff, 0xfe)).kind, "text");
});

test("audio and pings are what the protocol says", () => {
  assert.deepEqual([...audioMessage(Uint8Array.of(79, 103))], [1, 79, 103]);
  assert.deepEqual([...pingMessage()], [6]);
  assert.deepEqual([...parse(message(1, 79, 103)).bytes], [79, 103]);
  assert.equal(parse(message(5, 111, 111)).text, "oo");
});
