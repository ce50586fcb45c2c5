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
  #answer = null; // the element of the answer that goes on
  #follows = true; // nobody has scrolled up

  /** @param {HTMLElement} element shows it @param {HTMLElement} readOut is read out by screen readers */
  constructor(element, readOut) {
    this.#element = element;
    this.#readOut = readOut;
    element.addEventListener("scroll", () => (this.#follows = this.#isAtEnd()));
    new ResizeObserver(() => this.#toEnd()).observe(element); // a phone that is turned
  }

  /** Everything said so far, a line per answer. */
  get text() {
    return this.#text.replace(/\n +/g, "\n").trim();
  }

  /**
   * @param {string} text a fragment; a leading space starts a word
   * @param {{colour?: number, begins?: boolean}} how colour: 0 to 10; begins: another answer, on a line of its own
   */
  add(text, { colour, begins = false } = {}) {
    if (begins) this.#endAnswer();
    const fragment = make("span", this.#answer ? text : text.trimStart(), "newest");
    if (colour !== undefined) {
      fragment.dataset.colour = "";
      fragment.style.setProperty("--colour", String(colour % COLOURS));
    }
    this.#append(fragment);
    this.#newest = fragment;
    this.#text += text;
    this.#queueForReading(text);
  }

  /** A remark between what was said before and what comes. */
  divide(remark) {
    if (!this.#text) return;
    this.#endAnswer();
    this.#element.append(make("p", remark, "transcript-remark"));
    this.#toEnd();
  }

  #append(fragment) {
    this.#settleNewest();
    if (!this.#answer) this.#element.append((this.#answer = make("p", "", "answer")));
    this.#answer.append(fragment);
    this.#toEnd();
  }

  #endAnswer() {
    if (!this.#answer) return;
    this.#settleNewest();
    this.#answer = null;
    this.#text += "\n";
  }

  #isAtEnd() {
    const box = this.#element;
    return box.scrollHeight - box.scrollTop - box.clientHeight < AT_END_PX;
  }

  #toEnd() {
    if (this.#follows) this.#element.scrollTop = this.#element.scrollHeight;
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
