// Opus with the browser's own codec (WebCodecs), so that the page carries none.

import { OpusStreamReader, OpusStreamWriter, packetDuration_ms } from "../wire/opus_stream.js";
import { Resampler } from "./resampler.js";

const PACKET_MS = 20;
const BITRATE = 32_000;
const ENCODER_RATES_HZ = [24_000, 48_000]; // Moshi hears 24 kHz; some browsers encode Opus at 48 kHz only
const MAX_WAITING = 50; // packets inside the codec: a second. Beyond, new ones are dropped

/** Whether this browser can do it at all; a secure origin is needed as well. */
export async function canDoOpus() {
  if (typeof AudioEncoder === "undefined" || typeof AudioDecoder === "undefined") return false;
  const decoder = await AudioDecoder.isConfigSupported(decoderConfig()).catch(() => null);
  return Boolean(decoder?.supported && (await encoderConfig()));
}

/** From samples of the microphone to bytes for the wire. */
export class OpusSender {
  #encoder;
  #resampler;
  #config;
  #writer = new OpusStreamWriter();
  #pending;
  #filled = 0;
  #packets = 0;

  /**
   * @param {number} rate_hz of the samples given to `push`
   * @param {(pages: Uint8Array, duration_s: number) => void} deliver
   * @param {(error: Error) => void} fail
   */
  static async create(rate_hz, deliver, fail) {
    return new OpusSender(await encoderConfig(), rate_hz, deliver, fail);
  }

  constructor(config, rate_hz, deliver, fail) {
    this.#config = config;
    this.#resampler = new Resampler(rate_hz, config.sampleRate);
    this.#pending = new Float32Array((config.sampleRate * PACKET_MS) / 1000);
    this.#encoder = new AudioEncoder({
      output: (chunk) => {
        const packet = new Uint8Array(chunk.byteLength);
        chunk.copyTo(packet);
        deliver(this.#writer.write(packet, PACKET_MS), PACKET_MS / 1000);
      },
      error: fail,
    });
    this.#encoder.configure(config);
  }

  /** @param {Float32Array} samples */
  push(samples) {
    if (this.#encoder.state !== "configured") return;
    const resampled = this.#resampler.push(samples);
    for (let at = 0; at < resampled.length; ) {
      const part = resampled.subarray(at, at + this.#pending.length - this.#filled);
      this.#pending.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === this.#pending.length) this.#encode();
    }
  }

  close() {
    if (this.#encoder.state !== "closed") this.#encoder.close();
  }

  #encode() {
    this.#filled = 0;
    if (this.#encoder.encodeQueueSize > MAX_WAITING) return;
    const data = new AudioData({
      format: "f32",
      sampleRate: this.#config.sampleRate,
      numberOfChannels: 1,
      numberOfFrames: this.#pending.length,
      timestamp: this.#packets++ * PACKET_MS * 1000,
      data: this.#pending,
    });
    this.#encoder.encode(data);
    data.close();
  }
}

/** From bytes of the wire to samples at the rate of the loudspeaker. */
export class OpusReceiver {
  dropped_s = 0; // what came faster than it could be decoded, for example after the page stood still
  #decoder;
  #reader = new OpusStreamReader();
  #resampler = null;
  #decodedRate_hz = 0;
  #packets = 0;
  #rate_hz;

  /**
   * @param {number} rate_hz of the samples delivered
   * @param {(samples: Float32Array) => void} deliver
   * @param {(error: Error) => void} fail
   */
  constructor(rate_hz, deliver, fail) {
    this.#rate_hz = rate_hz;
    this.#decoder = new AudioDecoder({ output: (data) => deliver(this.#samplesOf(data)), error: fail });
    this.#decoder.configure(decoderConfig());
  }

  /** @param {Uint8Array} bytes of an Ogg stream, cut anywhere */
  push(bytes) {
    for (const packet of this.#reader.push(bytes)) {
      if (this.#decoder.state !== "configured") return;
      if (this.#decoder.decodeQueueSize > MAX_WAITING) {
        this.dropped_s += packetDuration_ms(packet) / 1000;
        continue;
      }
      const timestamp = this.#packets++ * PACKET_MS * 1000; // only its order counts
      this.#decoder.decode(new EncodedAudioChunk({ type: "key", timestamp, data: packet }));
    }
  }

  close() {
    if (this.#decoder.state !== "closed") this.#decoder.close();
  }

  #samplesOf(data) {
    const samples = new Float32Array(data.numberOfFrames);
    data.copyTo(samples, { planeIndex: 0, format: "f32-planar" });
    if (data.sampleRate !== this.#decodedRate_hz) {
      this.#decodedRate_hz = data.sampleRate;
      this.#resampler = new Resampler(data.sampleRate, this.#rate_hz);
    }
    data.close();
    return this.#resampler.push(samples);
  }
}

function decoderConfig() {
  return { codec: "opus", sampleRate: 48_000, numberOfChannels: 1 };
}

async function encoderConfig() {
  for (const sampleRate of ENCODER_RATES_HZ) {
    const config = {
      codec: "opus",
      sampleRate,
      numberOfChannels: 1,
      bitrate: BITRATE,
      opus: { frameDuration: PACKET_MS * 1000, application: "voip", complexity: 5 },
    };
    const support = await AudioEncoder.isConfigSupported(config).catch(() => null);
    if (support?.supported) return config;
  }
  return null;
}
