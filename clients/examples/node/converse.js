// A call from Node: a recording is spoken in real time, Moshi's text and voice come back.
//
//     node converse.js HOST:PORT RECORDING.wav REPLY.wav
import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import protobuf from 'protobufjs';

const PROTOS = new URL('../../../protos', import.meta.url).pathname;
const PACKET_MS = 20;
const TRIES = 5;
const HEADER_BYTES = 44; // of a WAV file that holds samples and nothing else
// A peer that has died without a word is noticed, and no router between forgets a connection that is silent.
const KEEPALIVE = { 'grpc.keepalive_time_ms': 20_000, 'grpc.keepalive_timeout_ms': 10_000 };

// Numbers of 64 bit as strings: a seed given by another client need not fit a JavaScript number.
const contract = loadSync('moshi_cluster/v1/gateway.proto', {
  includeDirs: [PROTOS], oneofs: true, longs: String, enums: String, defaults: true,
});
const { Gateway } = grpc.loadPackageDefinition(contract).moshi_cluster.v1;

async function main(target, recording, reply) {
  const wav = readFileSync(recording);
  if (wav.toString('latin1', 36, 40) !== 'data' || wav[22] !== 1 || wav[34] !== 16) {
    throw new Error(`${recording}: must be a plain WAV file, mono, with samples of 16 bit`);
  }
  const header = wav.subarray(0, HEADER_BYTES);
  const gateway = new Gateway(target, grpc.credentials.createInsecure(), KEEPALIVE);
  const audio = await patientCall(gateway, wav.subarray(HEADER_BYTES), header.readUInt32LE(24));
  gateway.close();
  // The reply comes in the recording's format, so the header serves again, with other lengths.
  header.writeUInt32LE(HEADER_BYTES - 8 + audio.length, 4);
  header.writeUInt32LE(audio.length, 40);
  writeFileSync(reply, Buffer.concat([header, audio]));
}

// Calls again, after as long as the gateway asks for, when it says that this may help.
async function patientCall(gateway, voice, rateHz) {
  for (let tried = 1; ; tried++) {
    try {
      return await call(gateway, voice, rateHz);
    } catch (error) {
      const delayMs = retryDelayMs(error);
      if (delayMs === undefined || tried === TRIES) throw error;
      console.error(`${error.details}: trying again in ${delayMs} ms`);
      await sleep(delayMs);
    }
  }
}

// One call, from `start` to `ended`; the reply's samples, in the format of the recording.
async function call(gateway, voice, rateHz) {
  // No call lasts for ever, whatever happens to the network.
  const stream = gateway.Converse({ deadline: Date.now() + (voice.length / 2 / rateHz + 30) * 1000 });
  stream.write({ start: { inputFormat: { encoding: 'ENCODING_PCM_S16LE', sampleRateHz: rateHz } } });
  const reply = [];
  for await (const message of stream) {
    switch (message.message) {
      case 'started':
        console.error(`call ${message.started.sessionId}`);
        speak(stream, voice, rateHz);
        break;
      case 'text':
        process.stdout.write(message.text.piece);
        break;
      case 'audio':
        reply.push(message.audio.data);
        break;
      case 'event': // silence filled in, frames dropped, the gateway about to stop, …
        console.error(`[${message.event.kind} ${message.event.frames} ${message.event.detail}]`);
        break;
      case 'ended':
        console.error(`\nended after ${message.ended.counters.framesOut} frames`);
        break;
    }
  }
  return Buffer.concat(reply);
}

// Sends the voice and hangs up; what is on its way is still answered.
async function speak(stream, voice, rateHz) {
  const begin = performance.now();
  const packetBytes = 2 * Math.round(rateHz * PACKET_MS / 1000);
  for (let index = 0; index * packetBytes < voice.length; index++) {
    // Each packet has a time of its own: one that is late does not delay those behind it.
    await sleep(Math.max(0, begin + index * PACKET_MS - performance.now()));
    if (stream.destroyed) return; // the call is over, and reading says why
    stream.write({ audio: { data: voice.subarray(index * packetBytes, (index + 1) * packetBytes) } });
  }
  stream.end();
}

// As much of google/rpc/status.proto and error_details.proto as a retry needs.
const rpc = protobuf.parse(`syntax = "proto3";
  message Status { repeated Any details = 3; }
  message Any { string type_url = 1; bytes value = 2; }
  message RetryInfo { Duration retry_delay = 1; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }`).root;

// The gateway's google.rpc.RetryInfo; undefined where calling again is no help.
function retryDelayMs(error) {
  const [status] = error.metadata?.get('grpc-status-details-bin') ?? [];
  const details = status ? rpc.lookupType('Status').decode(status).details : [];
  const retry = details.find((detail) => detail.typeUrl.endsWith('/google.rpc.RetryInfo'));
  if (!retry) return undefined;
  const { seconds, nanos } = rpc.lookupType('RetryInfo').decode(retry.value).retryDelay;
  return Number(seconds) * 1000 + nanos / 1e6;
}

if (process.argv.length !== 5) throw new Error('usage: node converse.js HOST:PORT RECORDING.wav REPLY.wav');
await main(...process.argv.slice(2));
