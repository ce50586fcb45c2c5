// A film of the conversation: the picture of the two voices with their sound.

const AUDIO_BITRATE = 128_000;
const VIDEO_BITRATE = 1_000_000;
const FRAMES_PER_S = 30;
const PART_MS = 1_000;
const TYPES = ["video/mp4;codecs=avc1,opus", "video/mp4;codecs=avc1,mp4a.40.2", "video/mp4", "video/webm;codecs=vp8,opus"];

export class Film {
  #recorder;
  #parts = [];

  /** @returns {string | undefined} what this browser can record */
  static type() {
    return TYPES.find((type) => globalThis.MediaRecorder?.isTypeSupported(type));
  }

  /** @param {HTMLCanvasElement} canvas @param {MediaStream} sound */
  constructor(canvas, sound) {
    const tracks = [...canvas.captureStream(FRAMES_PER_S).getVideoTracks(), ...sound.getAudioTracks()];
    this.#recorder = new MediaRecorder(new MediaStream(tracks), {
      mimeType: Film.type(),
      audioBitsPerSecond: AUDIO_BITRATE,
      videoBitsPerSecond: VIDEO_BITRATE,
    });
    this.#recorder.ondataavailable = ({ data }) => this.#parts.push(data);
    this.#recorder.start(PART_MS);
  }

  /** @returns {Promise<Blob>} the whole film; nothing is recorded afterwards */
  async stop() {
    const ended = new Promise((resolve) => (this.#recorder.onstop = resolve));
    this.#recorder.stop();
    await ended;
    return new Blob(this.#parts, { type: this.#recorder.mimeType });
  }
}
