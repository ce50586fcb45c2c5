// The page: what its parts tell each other.

import { Conversation } from "./call/conversation.js";
import { Controls } from "./view/controls.js";
import { byId, setText } from "./view/dom.js";
import { Downloads } from "./view/downloads.js";
import { Figures } from "./view/figures.js";
import { Film } from "./view/film.js";
import { NoticeBoard } from "./view/notice_board.js";
import { NOTICES, noticeOfState } from "./view/notices.js";
import { browserStorage, Preferences } from "./view/preferences.js";
import { Settings } from "./view/settings.js";
import { listenForShortcuts } from "./view/shortcuts.js";
import { Stage } from "./view/stage.js";
import { Transcript } from "./view/transcript.js";
import { chatUrl, isAllowed, otherServer } from "./wire/address.js";

const GOOD_NEWS_MS = 5_000;

class Page {
  #preferences = new Preferences(browserStorage());
  #conversation = new Conversation({
    state: (state, details) => this.#stateChanged(state, details),
    problem: (code, detail) => this.#notices.showProblem(code, detail),
    solved: (code) => this.#notices.solve(code),
    ready: (resumed, again) => this.#ready(resumed, again),
    text: (text, { colour, begins }) =>
      this.#transcript.add(text, { colour: this.#preferences.choices.colours ? colour : undefined, begins }),
    metadata: (value) => this.#metadata(value),
    recorded: (recording) => this.#downloads.addRecording(recording),
  });
  #voices = { mine: this.#conversation.mine, reply: this.#conversation.reply, muted: false };
  #stage = new Stage(byId("stage"), this.#voices);
  #transcript = new Transcript(byId("transcript"), byId("read-out"));
  #figures = new Figures();
  #controls = new Controls({
    connect: () => this.#toggleConversation(),
    mute: () => this.#toggleMute(),
    record: () => this.#toggleRecording(),
  });
  #downloads = new Downloads(byId("recordings"), byId("recording-list"));
  #notices = new NoticeBoard(byId("notice"), (action) => this.#act(action));
  #settings = new Settings(this.#preferences, (what) => this.#settingChanged(what));
  #asked = {}; // what the server was asked for
  #goesOn = false; // with a conversation that was asked for before
  #keptTimer = 0;
  #film = null;
  #wakeLock = null;

  constructor() {
    this.#wireButtons();
    this.#wireSurroundings();
    this.#showTheme();
    this.#showRecording();
    byId("speaker-row").hidden = !this.#conversation.sound.canChooseSpeaker;
    if (!globalThis.isSecureContext) this.#notices.showProblem("insecure", "");
    this.#mayCall();
    document.documentElement.dataset.ready = "true";
  }

  // --- what the caller does

  #wireButtons() {
    byId("open-settings").addEventListener("click", () => this.#settings.open());
    byId("open-help").addEventListener("click", () => byId("help").showModal());
    byId("copy-text").addEventListener("click", () => this.#copyText());
    for (const dialog of document.querySelectorAll("dialog")) {
      dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside it
    }
    listenForShortcuts({
      c: () => this.#toggleConversation(),
      m: () => this.#toggleMute(),
      r: () => this.#toggleRecording(),
      s: () => this.#settings.open(),
      "?": () => byId("help").showModal(),
    });
  }

  #toggleConversation() {
    if (this.#conversation.isRunning) this.#conversation.stop();
    else this.#start();
  }

  async #start() {
    if (!(await this.#mayCall()) || this.#conversation.isRunning) return;
    this.#figures.clear();
    this.#transcript.divide("New conversation");
    this.#goesOn = false;
    this.#converse({ goOn: false });
  }

  /** With the conversation that was lost, if the server still has it; it says so, and begins a new one if not. */
  #goOn() {
    if (!this.#conversation.isRunning) this.#converse({ goOn: true });
  }

  #converse({ goOn }) {
    clearTimeout(this.#keptTimer);
    this.#notices.solveAll();
    this.#asked = this.#settings.values;
    this.#conversation.start({
      address: () => chatUrl(location, this.#asked),
      choices: this.#preferences.choices,
      goOn,
    });
  }

  /** Whether the server that the page's address asks for is its own, or one that its operator allows. */
  async #mayCall() {
    const host = otherServer(location);
    if (host === null || (await isAllowed(host, location))) return true;
    this.#notices.showProblem("other-server", host);
    return false;
  }

  #toggleMute() {
    this.#voices.muted = !this.#voices.muted;
    this.#conversation.sound.mute(this.#voices.muted);
    this.#controls.showMuted(this.#voices.muted);
  }

  /** During a conversation: starts or ends this recording. Before one: whether it will be recorded. */
  #toggleRecording() {
    const { choices } = this.#preferences;
    choices.record = !choices.record;
    this.#preferences.save();
    this.#settingChanged("record");
  }

  #act(action) {
    if (action === "cancel") this.#conversation.stop();
    else if (action === "resume-sound") this.#conversation.sound.resume();
    else if (action === "go-on") this.#goOn();
    else if (!this.#conversation.isRunning) this.#start();
  }

  async #copyText() {
    await navigator.clipboard?.writeText(this.#transcript.text).catch(() => {});
    setText(byId("copy-text"), "Copied");
    setTimeout(() => setText(byId("copy-text"), "Copy"), 1500);
  }

  async #settingChanged(what) {
    const { choices } = this.#preferences;
    const { sound, isRunning } = this.#conversation;
    if (what === "theme") this.#showTheme();
    if (what === "record" && isRunning) {
      if (choices.record) this.#conversation.startRecording();
      else this.#conversation.stopRecording();
    }
    if (what === "record") this.#showRecording();
    if (what === "speaker") await sound.useSpeaker(choices.speaker);
    if (what === "microphone" && isRunning) {
      await sound.useMicrophone(choices).then(
        () => this.#notices.solve("mic-lost", "mic-denied", "mic-missing", "mic-busy"),
        (error) => this.#notices.showProblem(error.code ?? "sound-failed", error.message),
      );
    }
  }

  // --- what the conversation tells

  #stateChanged(state, details) {
    this.#notices.solve("stalled", "going-away");
    this.#notices.showState(noticeOfState(state, details));
    this.#controls.showState(state);
    this.#settings.lockParameters(state !== "closed");
    this.#showRecording();
    if (state !== "talking") this.#figures.stop();
    if (state === "closed") this.#rest();
    if (details.kept_ms > 0) this.#keptTimer = setTimeout(() => this.#notices.showState(NOTICES.forgotten()), details.kept_ms);
  }

  #ready(resumed, again) {
    if (again) {
      this.#showGoodNews(resumed ? "resumed" : "renewed");
      this.#transcript.divide(resumed ? "Connected again" : "Connected again: a new conversation");
    }
    this.#showRecording();
    this.#watch();
    this.#settings.refreshDevices();
  }

  #metadata(value) {
    this.#figures.noteMetadata(value);
    if ("resumed" in value) this.#goesOn = value.resumed === true;
    if (!this.#goesOn) this.#settings.noteInUse(value, this.#asked);
    if (value.queue && this.#conversation.connectionState === "waiting" && value.queue.position > 0) {
      this.#notices.showState(NOTICES.queued(value.queue));
    }
    if (value.event?.kind === "go_away") this.#notices.showProblem("going-away", value.event.detail);
    if (value.event?.kind === "moved") this.#notices.solve("going-away");
  }

  #watch() {
    this.#stage.run();
    this.#figures.follow(this.#conversation);
    if (this.#preferences.choices.film) this.#startFilm();
    this.#keepAwake();
  }

  #rest() {
    this.#stage.rest();
    this.#endFilm();
    this.#wakeLock?.release().catch(() => {});
    this.#wakeLock = null;
  }

  // --- film, screen

  #startFilm() {
    if (this.#film || !Film.type()) return;
    this.#film = { film: new Film(byId("stage"), this.#conversation.sound.mixedStream()), startedAt: new Date() };
  }

  async #endFilm() {
    if (!this.#film) return;
    const { film, startedAt } = this.#film;
    this.#film = null;
    this.#downloads.addFilm(await film.stop(), startedAt);
  }

  async #keepAwake() {
    this.#wakeLock ??= (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  }

  // --- what is shown

  #showRecording() {
    const { record } = this.#preferences.choices;
    this.#controls.showRecording(record, this.#conversation.isRecording);
    byId("choice-record").checked = record;
  }

  #showGoodNews(code) {
    this.#notices.showProblem(code, "");
    setTimeout(() => this.#notices.solve(code), GOOD_NEWS_MS);
  }

  #showTheme() {
    const { theme } = this.#preferences.choices;
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    this.#stage.readColours();
    this.#figures.redraw();
  }

  #wireSurroundings() {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#showTheme());
    addEventListener("offline", () => this.#conversation.isRunning && this.#notices.showProblem("offline", ""));
    addEventListener("online", () => {
      this.#notices.solve("offline");
      this.#conversation.resumeNow();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible" && this.#conversation.isRunning) this.#conversation.sound.resume();
    });
    addEventListener("pagehide", () => this.#conversation.stop());
  }
}

new Page();
