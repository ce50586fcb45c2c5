// Where one answer of Moshi ends and the next begins: text comes word by word, without a mark between them.

export const PAUSE_MS = 2_000; // without a word: what follows is another answer
export const BREATH_MS = 600; // enough when the caller has spoken meanwhile
export const SPOKE_MS = 300; // less of the caller's voice is a cough
export const SPEECH_LOUDNESS = 0.4; // 36 dB below full scale, see `loudness`

export class Answers {
  #lastText_ms = null;
  #callerSpoke_ms = 0; // since the last text

  /** @param {number} loudness of the caller's voice, 0 to 1 @param {number} duration_ms how long it was */
  callerHeard(loudness, duration_ms) {
    if (loudness >= SPEECH_LOUDNESS) this.#callerSpoke_ms += duration_ms;
  }

  /** @param {number} now_ms when a piece of text came @returns {boolean} whether it begins another answer */
  beginsWithText(now_ms) {
    const pause_ms = this.#lastText_ms === null ? 0 : now_ms - this.#lastText_ms;
    const interrupted = this.#callerSpoke_ms >= SPOKE_MS && pause_ms >= BREATH_MS;
    this.#lastText_ms = now_ms;
    this.#callerSpoke_ms = 0;
    return interrupted || pause_ms >= PAUSE_MS;
  }
}
