// Phone calls with k6 (grafana.com/docs/k6): mu-law, 20 ms a packet both ways, in real time. What it means: docs/ghz.md.
//
//     k6 run benchmarks/k6/call.js
//     k6 run -e CALLS=8,16,32,64 -e CALL_S=30 -e TARGET=gateway:50051 benchmarks/k6/call.js
//
// CALLS: calls at once, one step after the other. CALL_S: length of a call in seconds. TARGET: the gateway.
// TURNAROUND_MS: what 95 of 100 frames have to keep below; the exit code is 0 when they did and every call ended OK.

import { sleep } from "k6";
import { SharedArray } from "k6/data";
import { b64encode } from "k6/encoding";
import exec from "k6/execution";
import { Counter, Rate, Trend } from "k6/metrics";
import { Client, Stream } from "k6/net/grpc";

const PACKET_MS = 20;
const FRAME_PACKETS = 4;
const RATE_HZ = 8000;
const PACKET_SAMPLES = (RATE_HZ * PACKET_MS) / 1000;
const FRAME_SAMPLES = FRAME_PACKETS * PACKET_SAMPLES;
const WAV_HEADER_BYTES = 44;
const FLUSH_S = 11; // a gateway gives what is left to answer 10
const SPREAD_S = 1; // calls of a step begin within it: their frames do not fall together

const target = __ENV.TARGET || "localhost:50051";
const steps = (__ENV.CALLS || "8").split(",").map((calls) => positive("CALLS", calls));
const callS = positive("CALL_S", __ENV.CALL_S || "20");
const turnaroundMs = positive("TURNAROUND_MS", __ENV.TURNAROUND_MS || "160");

const turnaround = new Trend("turnaround", true); // a frame's last packet sent to its reply's first packet received
const setup = new Trend("setup", true); // `start` sent to `started` received
const ended = new Counter("calls"); // by the tag `status`
const ok = new Rate("calls_ok");
const late = new Rate("frames_late"); // as the gateway counts them

if (new Set(steps).size < steps.length) throw new Error("CALLS: a number comes twice, and steps are named by it");

const packets = new SharedArray("packets", () => packetsOf(open("../../clients/cli/demo_utterance.wav", "b")));
const client = new Client();

export const options = {
  scenarios: Object.fromEntries(steps.map((calls, step) => [name(calls), scenario(calls, step)])),
  thresholds: Object.assign({}, ...steps.map(thresholds)),
  summaryTrendStats: ["min", "med", "p(95)", "p(99)", "max"],
};

export default function () {
  sleep(Math.random() * SPREAD_S);
  client.connect(target, { plaintext: true, reflect: true, timeout: "10s" });
  new Call().begin();
}

function positive(variable, text) {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${variable}: expected a number above 0, got "${text}"`);
  return value;
}

function name(calls) {
  return `calls_${calls}`;
}

function scenario(calls, step) {
  const longestS = SPREAD_S + callS + FLUSH_S;
  return {
    executor: "per-vu-iterations",
    vus: calls,
    iterations: 1,
    startTime: `${step * longestS}s`,
    maxDuration: `${longestS}s`,
    gracefulStop: "0s",
  };
}

function thresholds(calls) {
  const step = `{scenario:${name(calls)}}`;
  return {
    [`calls${step}`]: [`count==${calls}`], // none is missing: a rate of nothing is as good as any
    [`calls_ok${step}`]: ["rate==1"],
    [`turnaround${step}`]: [`p(95)<${turnaroundMs}`],
    [`frames_late${step}`]: ["rate<=1"], // shown, never broken
  };
}

class Call {
  constructor() {
    this.sentMs = []; // when each of the caller's frames was complete
    this.packets = 0; // sent
    this.shift = 0; // reply frames beyond those that were sent: silence filled in, less what was dropped
    this.status = "OK";
    this.saidGoodbye = false; // the gateway, with `ended`
  }

  begin() {
    const label = `k6 ${exec.scenario.name}`;
    this.stream = new Stream(client, "moshi_cluster.v1.Gateway/Converse", { timeout: `${callS + FLUSH_S}s` });
    this.stream.on("data", (message) => this.hear(message));
    this.stream.on("error", (error) => {
      this.status = `${error.code}`; // k6 spells it as ghz does
      console.error(`${label}: ${this.status}: ${error.message}`);
      this.over();
    });
    this.stream.on("end", () => this.over());
    const format = { encoding: "ENCODING_MULAW", sample_rate_hz: RATE_HZ };
    this.beginMs = Date.now();
    this.stream.write({ start: { input_format: format, reply_packet_ms: PACKET_MS, call_label: label } });
    this.timer = setInterval(() => this.speak(), PACKET_MS);
  }

  // By the clock: a timer that fires late is caught up, so the caller's clock is right.
  speak() {
    const dueMs = Date.now() - this.beginMs;
    while (this.packets * PACKET_MS <= dueMs && this.packets * PACKET_MS < callS * 1000) {
      this.stream.write({ audio: { data: packets[this.packets % packets.length] } });
      this.packets += 1;
      if (this.packets % FRAME_PACKETS === 0) this.sentMs.push(Date.now());
    }
    if (this.packets * PACKET_MS >= callS * 1000) this.hangUp();
  }

  hangUp() {
    clearInterval(this.timer);
    this.stream.end();
  }

  hear(message) {
    if (message.audio) this.hearPacket(Number(message.audio.firstSample || 0));
    else if (message.started) setup.add(Date.now() - this.beginMs);
    else if (message.event) this.hearEvent(message.event);
    else if (message.ended) this.hearEnd(message.ended.counters);
  }

  hearPacket(firstSample) {
    if (firstSample % FRAME_SAMPLES !== 0) return;
    const sentMs = this.sentMs[firstSample / FRAME_SAMPLES - this.shift];
    if (sentMs !== undefined) turnaround.add(Date.now() - sentMs);
  }

  hearEvent(event) {
    if (event.kind === "KIND_FILLED") this.shift += event.frames;
    if (event.kind === "KIND_DROPPED") this.shift -= event.frames;
  }

  hearEnd(counters) {
    this.saidGoodbye = true;
    const [outFrames, lateFrames] = [Number(counters.framesOut || 0), Number(counters.framesLate || 0)];
    for (let frame = 0; frame < outFrames; frame++) late.add(frame < lateFrames);
  }

  over() {
    if (this.told) return;
    this.told = true;
    clearInterval(this.timer);
    ended.add(1, { status: this.status });
    ok.add(this.status === "OK" && this.saidGoodbye);
    client.close();
  }
}

// Base64 of mu-law at 8 kHz, one packet each; three samples of 24 kHz make one.
function packetsOf(wav) {
  const samples = new Int16Array(wav, WAV_HEADER_BYTES);
  const count = Math.floor(samples.length / 3 / PACKET_SAMPLES);
  return Array.from({ length: count }, (_, packet) => {
    const coded = new Uint8Array(PACKET_SAMPLES);
    for (let index = 0; index < PACKET_SAMPLES; index++) {
      const first = 3 * (packet * PACKET_SAMPLES + index);
      coded[index] = mulaw((samples[first] + samples[first + 1] + samples[first + 2]) / 3);
    }
    return b64encode(coded.buffer);
  });
}

// ITU-T G.711 of a 16-bit sample.
function mulaw(sample) {
  const magnitude = Math.min(Math.abs(sample) >> 2, 8158) + 33;
  const segment = Math.floor(Math.log2(magnitude)) - 5;
  return ~((sample < 0 ? 0x80 : 0) | (segment << 4) | ((magnitude >> (segment + 1)) & 0x0f)) & 0xff;
}
