import assert from "node:assert/strict";
import { test } from "node:test";

import { chatUrl, isAllowed, otherServer } from "../../../clients/web/js/wire/address.js";

const PAGE = new URL("http://moshi.example:8998/");
const answering = (body) => async (url) => ({ json: async () => JSON.parse(body), url });

test("what is asked for travels in the address, and nothing else but the page's wish for figures", () => {
  const asked = { text_temperature: 0, audio_topk: 250, text_seed: 7, audio_seed: 8 };
  const url = new URL(chatUrl(PAGE, asked));
  assert.equal(`${url.protocol}//${url.host}${url.pathname}`, "ws://moshi.example:8998/api/chat");
  assert.deepEqual(Object.fromEntries(url.searchParams), {
    text_temperature: "0",
    audio_topk: "250",
    text_seed: "7",
    audio_seed: "8",
    stats: "true",
  });
});

for (const [page, address] of [
  ["https://host/", "wss://host/api/chat"],
  ["https://host/index.html", "wss://host/api/chat"],
  ["https://host/moshi/", "wss://host/moshi/api/chat"],
  ["https://host/moshi/index.html", "wss://host/moshi/api/chat"],
  ["http://host:8998/a/b/?token=x#top", "ws://host:8998/a/b/api/chat"],
]) {
  test(`the server of ${page} is beside the page`, () => {
    const url = new URL(chatUrl(new URL(page), {}));
    assert.equal(`${url.protocol}//${url.host}${url.pathname}`, address);
    assert.equal(url.hash, "");
  });
}

test("an https page calls a wss server, another one if its address says so, with its credentials", () => {
  const page = new URL("https://moshi.example/below/?worker_addr=gpu7:8998&token=a%26b&other=1");
  const url = new URL(chatUrl(page, {}));
  assert.equal(`${url.origin}${url.pathname}`, "wss://gpu7:8998/api/chat");
  assert.deepEqual(Object.fromEntries(url.searchParams), { token: "a&b", stats: "true" });
});

test("another server is one that is not the page's own", () => {
  assert.equal(otherServer(PAGE), null);
  assert.equal(otherServer(new URL("http://moshi.example:8998/?worker_addr=moshi.example:8998")), null);
  assert.equal(otherServer(new URL("http://moshi.example:8998/?worker_addr=moshi.example")), "moshi.example");
  assert.equal(otherServer(new URL("http://moshi.example:8998/?worker_addr=")), "");
});

test("another server is allowed when the page's operator names exactly it", async () => {
  const page = new URL("https://moshi.example/below/?worker_addr=gpu7:8998");
  const asked = [];
  const load = async (url) => {
    asked.push(String(url));
    return answering('{"worker_hosts": ["gpu6:8998", "gpu7:8998"]}')(url);
  };
  assert.equal(await isAllowed("gpu7:8998", page, load), true);
  assert.deepEqual(asked, ["https://moshi.example/below/settings.json"]);
  for (const host of ["gpu7", "gpu7:8999", "x@gpu7:8998", "gpu7:8998/elsewhere", "", "evil.example"]) {
    assert.equal(await isAllowed(host, page, load), false, host);
  }
});

test("a page whose operator says nothing talks with its own server only", async () => {
  const unreachable = async () => {
    throw new TypeError("Failed to fetch");
  };
  assert.equal(await isAllowed("gpu7:8998", PAGE, unreachable), false);
  for (const body of ["<!doctype html>", "null", "[]", "{}", '{"worker_hosts": "gpu7:8998"}']) {
    assert.equal(await isAllowed("gpu7:8998", PAGE, answering(body)), false, body);
  }
});
