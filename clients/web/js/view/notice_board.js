// The place on the page where notices stand.

import { make } from "./dom.js";
import { NOTICES } from "./notices.js";

const TITLES = {
  connect: "Connect again",
  new: "New conversation",
  "go-on": "Go on",
  cancel: "Cancel",
  "resume-sound": "Take the sound back",
};

/** The place on the page for the most important notice; problems are shown before progress. */
export class NoticeBoard {
  #element;
  #act;
  #state = null;
  #problems = new Map(); // code -> Notice, newest last

  /** @param {HTMLElement} element @param {(action: string) => void} act */
  constructor(element, act) {
    this.#element = element;
    this.#act = act;
  }

  /** @param {Notice | null} notice of the conversation's state */
  showState(notice) {
    this.#state = notice;
    this.#draw();
  }

  showProblem(code, detail) {
    this.#problems.delete(code);
    this.#problems.set(code, NOTICES[code](detail));
    this.#draw();
  }

  solve(...codes) {
    for (const code of codes) this.#problems.delete(code);
    this.#draw();
  }

  solveAll() {
    this.solve(...this.#problems.keys());
  }

  #draw() {
    const notice = [...this.#problems.values()].at(-1) ?? this.#state;
    this.#element.hidden = !notice;
    if (!notice) {
      this.#element.replaceChildren();
      return;
    }
    const title = make("strong", notice.title);
    const text = make("p", notice.text);
    const parts = [make("span", "", "notice-mark"), make("div", "", "notice-body", [title, text])];
    const buttons = (notice.actions ?? []).map((action, index, all) => this.#button(action, index === 0 && all.length > 1));
    if (buttons.length > 0) parts.push(make("div", "", "notice-actions", buttons));
    this.#element.dataset.tone = notice.tone;
    this.#element.setAttribute("role", notice.tone === "error" ? "alert" : "status");
    this.#element.replaceChildren(...parts);
  }

  #button(action, isFirstOfMany) {
    const button = make("button", TITLES[action], `button button-quiet ${isFirstOfMany ? "primary" : ""}`);
    button.type = "button";
    button.addEventListener("click", () => this.#act(action));
    return button;
  }
}
