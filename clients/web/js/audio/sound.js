// Microphone, loudspeaker and what lies between them: one AudioContext for the life of the page.

const VOICES = new URL("./voices.worklet.js", import.meta.url);
const PLAYBACK = new URL("./playback.worklet.js", import.meta.url);

/** Why the sound does not work; `code` is a key of the page's messages. */
export class SoundError extends Error {
  /** @param {"insecure" | "no-codec" | "mic-denied" | "mic-missing" | "mic-busy" | "sound-failed"} code */
  constructor(code, cause) {
    super(String(cause?.message ?? cause ?? code));
    this.code = code;
  }
}

/**
 * @typedef {{echoCancellation: boolean, noiseSuppression: boolean, autoGainControl: boolean,
 *   microphone: string, speaker: string}} SoundChoices device ids; "" is the system's choice
 */

export class Sound {
  #context = null;
  #playback;
  #voices;
  #source = null;
  #stream = null;
  #muted = false;
  #listener;

  /**
   * @param {{voices: (pair: {mine: Float32Array, reply: Float32Array}) => void,
   *   playback: (statistics: object) => void, microphoneLost: () => void, stopped: (isStopped: boolean) => void}} listener
   */
  constructor(listener) {
    this.#listener = listener;
  }

  /** Samples per second of everything here; known once started. */
  get rate_hz() {
    return this.#context.sampleRate;
  }

  /** Between the playback's output and the air, as far as the browser knows. */
  get outputDelay_s() {
    return (this.#context?.baseLatency || 0) + (this.#context?.outputLatency || 0);
  }

  get canChooseSpeaker() {
    return "setSinkId" in (globalThis.AudioContext?.prototype ?? {});
  }

  /** Must be called from a click or key press. @param {SoundChoices} choices @throws {SoundError} */
  async start(choices) {
    if (!globalThis.isSecureContext || !navigator.mediaDevices) throw new SoundError("insecure");
    try {
      await this.#prepare();
    } catch (error) {
      throw new SoundError("sound-failed", error);
    }
    await this.useMicrophone(choices);
    await this.useSpeaker(choices.speaker);
  }

  /** Opens the microphone, or changes to another one or other processing. @throws {SoundError} */
  async useMicrophone(choices) {
    const stream = await openMicrophone(choices);
    this.#dropMicrophone();
    this.#stream = stream;
    const [track] = stream.getAudioTracks();
    track.enabled = !this.#muted;
    track.onended = () => this.#listener.microphoneLost();
    this.#source = this.#context.createMediaStreamSource(stream);
    this.#source.connect(this.#voices, 0, 0);
  }

  /** @param {string} id "" is the system's choice; one that is gone is ignored */
  async useSpeaker(id) {
    if (this.canChooseSpeaker && this.#context) await this.#context.setSinkId(id).catch(() => {});
  }

  /** A muted microphone sends silence, so that the conversation goes on. */
  mute(isMuted) {
    this.#muted = isMuted;
    for (const track of this.#stream?.getAudioTracks() ?? []) track.enabled = !isMuted;
  }

  /** @param {Float32Array} samples Moshi's voice; not to be used afterwards */
  play(samples) {
    this.#playback.port.postMessage(samples, [samples.buffer]);
  }

  /** Forgets what is queued for playback and all its figures. */
  resetPlayback() {
    this.#playback.port.postMessage("reset");
  }

  /** A stream of Moshi's and the caller's voice together, for a video. */
  mixedStream() {
    const destination = this.#context.createMediaStreamDestination();
    this.#playback.connect(destination);
    this.#source?.connect(destination);
    return destination.stream;
  }

  /** Takes up sound again that the system had stopped; must follow a click or key press on some systems. */
  async resume() {
    if (this.#context && this.#context.state !== "running") await this.#context.resume().catch(() => {});
  }

  /** Lets go of the microphone; the context stays for the next conversation. */
  async stop() {
    this.#dropMicrophone();
    if (this.#context?.state === "running") await this.#context.suspend();
  }

  async #prepare() {
    if (!this.#context) {
      const context = new AudioContext({ latencyHint: "interactive" });
      await Promise.all([context.audioWorklet.addModule(VOICES), context.audioWorklet.addModule(PLAYBACK)]);
      this.#context = context;
      this.#connect(context);
    }
    await this.#context.resume();
  }

  #connect(context) {
    const mono = { channelCount: 1, channelCountMode: "explicit", channelInterpretation: "speakers" };
    this.#playback = new AudioWorkletNode(context, "moshi-playback", { numberOfInputs: 0, outputChannelCount: [1] });
    this.#voices = new AudioWorkletNode(context, "moshi-voices", { numberOfInputs: 2, outputChannelCount: [1], ...mono });
    this.#playback.port.onmessage = ({ data }) => this.#listener.playback(data);
    this.#voices.port.onmessage = ({ data }) => this.#listener.voices(data);
    this.#playback.connect(context.destination);
    this.#playback.connect(this.#voices, 0, 1);
    this.#voices.connect(context.destination); // silence: a node that leads nowhere may not run
    context.onstatechange = () => this.#listener.stopped(this.#stream !== null && context.state !== "running");
  }

  #dropMicrophone() {
    this.#source?.disconnect();
    for (const track of this.#stream?.getTracks() ?? []) {
      track.onended = null;
      track.stop();
    }
    this.#source = this.#stream = null;
  }
}

/** The devices there are; labels are empty until the microphone was allowed once. */
export async function listDevices() {
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  const ofKind = (kind) =>
    devices
      .filter((device) => device.kind === kind && device.deviceId !== "default" && device.deviceId !== "")
      .map(({ deviceId, label }) => ({ id: deviceId, label }));
  return { microphones: ofKind("audioinput"), speakers: ofKind("audiooutput") };
}

async function openMicrophone({ microphone, echoCancellation, noiseSuppression, autoGainControl }) {
  const processing = { echoCancellation, noiseSuppression, autoGainControl, channelCount: 1 };
  const ask = (audio) => navigator.mediaDevices.getUserMedia({ audio });
  try {
    if (!microphone) return await ask(processing);
    return await ask({ ...processing, deviceId: { exact: microphone } });
  } catch (error) {
    // A device that was chosen another day and is not there any more.
    if (microphone && (error.name === "OverconstrainedError" || error.name === "NotFoundError")) {
      return openMicrophone({ microphone: "", echoCancellation, noiseSuppression, autoGainControl });
    }
    throw new SoundError(MICROPHONE_ERRORS[error.name] ?? "sound-failed", error);
  }
}

const MICROPHONE_ERRORS = {
  NotAllowedError: "mic-denied",
  SecurityError: "mic-denied",
  NotFoundError: "mic-missing",
  OverconstrainedError: "mic-missing",
  NotReadableError: "mic-busy",
  AbortError: "mic-busy",
};
