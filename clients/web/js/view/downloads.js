// The recordings of this visit: to hear and to keep. They are nowhere but in this page until then.

import { make } from "./dom.js";

export class Downloads {
  #section;
  #list;

  /** @param {HTMLElement} section hidden while empty @param {HTMLElement} list a <ul> */
  constructor(section, list) {
    this.#section = section;
    this.#list = list;
  }

  /** @param {import("../audio/recording.js").Recording} recording both voices */
  addRecording(recording) {
    const player = document.createElement("audio");
    this.#add(recording.toBlob(), player, "wav", `${timeOf(recording.startedAt)}, ${lengthOf(recording.length_s)}`, "sound");
  }

  /** @param {Blob} blob a film of a conversation */
  addFilm(blob, startedAt) {
    const player = document.createElement("video");
    player.playsInline = true;
    this.#add(blob, player, blob.type.includes("mp4") ? "mp4" : "webm", `${timeOf(startedAt)}, film`, "film");
  }

  #add(blob, player, extension, title, kind) {
    const url = URL.createObjectURL(blob);
    player.controls = true;
    player.preload = "metadata";
    player.src = url;
    player.setAttribute("aria-label", `Recording of ${title}`);
    const link = make("a", "Download", "button button-quiet");
    link.href = url;
    link.download = `moshi-${fileStamp(new Date())}.${extension}`;
    link.setAttribute("aria-label", `Download the recording of ${title}, ${sizeOf(blob.size)}`);
    const remove = make("button", "Delete", "button button-quiet");
    remove.type = "button";
    remove.setAttribute("aria-label", `Delete the recording of ${title}`);
    const head = make("span", `${title}, ${sizeOf(blob.size)}`, "recording-title");
    const item = make("li", "", "recording", [head, player, make("div", "", "recording-actions", [link, remove])]);
    item.dataset.kind = kind;
    remove.addEventListener("click", () => this.#remove(item, url));
    this.#list.prepend(item);
    this.#section.hidden = false;
  }

  #remove(item, url) {
    URL.revokeObjectURL(url);
    item.remove();
    this.#section.hidden = this.#list.children.length === 0;
  }
}

function timeOf(date) {
  return date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
}

function lengthOf(length_s) {
  const whole = Math.floor(length_s);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

function sizeOf(bytes) {
  return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1000))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

function fileStamp(date) {
  return date.toISOString().slice(0, 19).replace("T", "-").replaceAll(":", "");
}
