// The three buttons that are always in view, and the lamp: what they say of the conversation.

import { byId, setText } from "./dom.js";

const LAMPS = {
  idle: ["off", "Not connected"],
  preparing: ["wait", "Starting"],
  connecting: ["wait", "Connecting"],
  waiting: ["wait", "Waiting"],
  talking: ["on", "Connected"],
  resuming: ["wait", "Reconnecting"],
  closed: ["off", "Not connected"],
};

export class Controls {
  /** @param {{connect: () => void, mute: () => void, record: () => void}} actions */
  constructor(actions) {
    for (const [id, action] of Object.entries(actions)) byId(id).addEventListener("click", () => action());
    this.showState("idle");
  }

  /** @param {string} state of the conversation */
  showState(state) {
    const [lamp, text] = LAMPS[state];
    const isRunning = state !== "idle" && state !== "closed";
    byId("lamp").dataset.lamp = lamp;
    setText(byId("lamp-text"), text);
    setText(byId("connect-label"), isRunning ? "Disconnect" : "Connect");
    byId("connect").classList.toggle("is-running", isRunning);
    document.documentElement.dataset.state = state;
  }

  showMuted(isMuted) {
    const name = isMuted ? "Muted microphone" : "Mute the microphone";
    label("mute", { isPressed: isMuted, seen: isMuted ? "Muted" : "Mute", name });
  }

  /** @param {boolean} isWanted whether conversations are recorded @param {boolean} isRecording whether this moment is */
  showRecording(isWanted, isRecording) {
    const name = isRecording ? "Recording both voices" : "Record both voices";
    label("record", { isPressed: isWanted, seen: isRecording ? "Recording" : "Record", name });
  }
}

/** Its name begins with what is seen, for whoever speaks commands to the page. */
function label(id, { isPressed, seen, name }) {
  byId(id).setAttribute("aria-pressed", String(isPressed));
  byId(id).setAttribute("aria-label", name);
  setText(byId(`${id}-label`), seen);
}
