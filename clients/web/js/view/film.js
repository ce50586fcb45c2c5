// A film of the conversation: the picture of the two voices with their sound.

const AUDIO_BITRATE = 128_000;
const VIDEO_BITRATE = 1_000_000;
const FRAMES_PER_S = 30;
const PART_MS = 1_000;
const WIDTH = 960;
const HEIGHT = 540;
const TITLE = "Moshi";
const TYPES = ["video/mp4;codecs=avc1,opus", "video/mp4;codecs=avc1,mp4a.40.2", "video/mp4", "video/webm;codecs=vp8,opus"];

export class Film {
  #recorder;
  #parts = [];
  #picture = Object.assign(document.createElement("canvas"), { width: WIDTH, height: HEIGHT });
  #stage;
  #running = true;

  /** @returns {string | undefined} what this browser can record */
  static type() {
    return TYPES.find((type) => globalThis.MediaRecorder?.isTypeSupported(type));
  }

  /**
   * @param {HTMLCanvasElement} stage shows both voices; may change its size, which a film cannot
   * @param {MediaStream} sound
   */
  constructor(stage, sound) {
    this.#stage = stage;
    this.#draw();
    const tracks = [...this.#picture.captureStream(FRAMES_PER_S).getVideoTracks(), ...sound.getAudioTracks()];
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
    this.#running = false;
    const ended = new Promise((resolve) => (this.#recorder.onstop = resolve));
    this.#recorder.stop();
    await ended;
    return new Blob(this.#parts, { type: this.#recorder.mimeType });
  }

  #draw() {
    if (!this.#running) return;
    requestAnimationFrame(() => this.#draw());
    const context = this.#picture.getContext("2d");
    const style = getComputedStyle(this.#stage);
    const { width, height } = this.#stage;
    const scale = Math.min(WIDTH / width, HEIGHT / height);
    context.fillStyle = style.getPropertyValue("--panel");
    context.fillRect(0, 0, WIDTH, HEIGHT);
    context.drawImage(
      this.#stage,
      (WIDTH - width * scale) / 2,
      (HEIGHT - height * scale) / 2,
      width * scale,
      height * scale,
    );
    context.fillStyle = style.getPropertyValue("--ink");
    context.font = `600 28px ${style.fontFamily}`;
    context.fillText(TITLE, 32, 52);
  }
}
