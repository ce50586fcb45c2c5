// What Moshi says, as it says it: the newest fragment bold, scrolled into view unless the reader has scrolled up.

import { make } from "./dom.js";

const READ_OUT_PAUSE_MS = 1_500; // a screen reader gets sentences, not fragments
const AT_END_PX = 40;
const COLOURS = 11;

export class Transcript {
  #element;
  #readOut;
  #newest = null;
  #unread = "";
  #timer = 0;
  #text = "";
  #atLineStart = true;

  /** @param {HTMLElement} element shows it @param {HTMLElement} readOut is read out by screen readers */
  constructor(element, readOut) {
    this.#element = element;
    this.#readOut = readOut;
  }

  /** Everything said so far, a line per conversation. */
  get text() {
    return this.#text.trim();
  }

  /** @param {string} text a fragment; a leading space starts a word @param {number} [colour] 0 to 10 */
  add(text, colour) {
    const fragment = make("span", this.#atLineStart ? text.trimStart() : text, "newest");
    if (colour !== undefined) {
      fragment.dataset.colour = "";
      fragment.style.setProperty("--colour", String(colour % COLOURS));
    }
    this.#append(fragment);
    this.#newest = fragment;
    this.#atLineStart = false;
    this.#text += text;
    this.#queueForReading(text);
  }

  /** A remark between what was said before and what comes. */
  divide(remark) {
    if (!this.#text) return;
    this.#append(make("p", remark, "transcript-remark"));
    this.#text += "\n";
    this.#atLineStart = true;
  }

  #append(node) {
    const box = this.#element;
    const follows = box.scrollHeight - box.scrollTop - box.clientHeight < AT_END_PX;
    this.#settleNewest();
    box.append(node);
    if (follows) box.scrollTop = box.scrollHeight;
  }

  /** The newest fragment becomes one of many; without a colour it joins the text before it, so that an hour stays small. */
  #settleNewest() {
    const fragment = this.#newest;
    this.#newest = null;
    if (!fragment) return;
    fragment.classList.remove("newest");
    if ("colour" in fragment.dataset) return;
    const before = fragment.previousSibling;
    if (before instanceof Text) {
      before.appendData(fragment.textContent);
      fragment.remove();
    } else {
      fragment.replaceWith(fragment.textContent);
    }
  }

  #queueForReading(text) {
    this.#unread += text;
    clearTimeout(this.#timer);
    if (/[.!?]\s*$/.test(this.#unread)) this.#read();
    else this.#timer = setTimeout(() => this.#read(), READ_OUT_PAUSE_MS);
  }

  #read() {
    this.#readOut.textContent = this.#unread.trim();
    this.#unread = "";
  }
}
