// The page: what its parts tell each other.

import { Conversation } from "./call/conversation.js";
import { byId, setText } from "./view/dom.js";
import { Downloads } from "./view/downloads.js";
import { Film } from "./view/film.js";
import { LatencyGraph } from "./view/latency_graph.js";
import { NoticeBoard } from "./view/notice_board.js";
import { NOTICES, noticeOfState } from "./view/notices.js";
import { browserStorage, Preferences } from "./view/preferences.js";
import { Settings } from "./view/settings.js";
import { listenForShortcuts } from "./view/shortcuts.js";
import { Stage } from "./view/stage.js";
import { Statistics } from "./view/statistics.js";
import { Transcript } from "./view/transcript.js";
import { chatUrl } from "./wire/parameters.js";

const STATISTICS_PERIOD_MS = 141; // as upstream's page
const GRAPH_PERIOD_MS = 1_000;
const GOOD_NEWS_MS = 5_000;

const LAMPS = {
  idle: ["off", "Not connected"],
  preparing: ["wait", "Starting"],
  connecting: ["wait", "Connecting"],
  waiting: ["wait", "Waiting"],
  talking: ["on", "Connected"],
  resuming: ["wait", "Reconnecting"],
  closed: ["off", "Not connected"],
};

class Page {
  #preferences = new Preferences(browserStorage());
  #conversation = new Conversation({
    state: (state, details) => this.#stateChanged(state, details),
    problem: (code, detail) => this.#notices.showProblem(code, detail),
    solved: (code) => this.#notices.solve(code),
    ready: (resumed, again) => this.#ready(resumed, again),
    text: (text, colour) => this.#transcript.add(text, this.#preferences.choices.colours ? colour : undefined),
    metadata: (value) => this.#metadata(value),
    recorded: (recording) => this.#downloads.addRecording(recording),
  });
  #voices = { mine: this.#conversation.mine, reply: this.#conversation.reply, muted: false };
  #stage = new Stage(byId("stage"), this.#voices);
  #transcript = new Transcript(byId("transcript"), byId("read-out"));
  #graph = new LatencyGraph(byId("latency-graph"), byId("hops"));
  #statistics = new Statistics(byId("statistics"), byId("server-info"));
  #downloads = new Downloads(byId("recordings"), byId("recording-list"));
  #notices = new NoticeBoard(byId("notice"), (action) => this.#act(action));
  #settings = new Settings(this.#preferences, (what) => this.#settingChanged(what));
  #timers = [];
  #film = null;
  #wakeLock = null;

  constructor() {
    this.#wireButtons();
    this.#wireSurroundings();
    this.#showTheme();
    this.#showRecording();
    this.#showLamp("idle");
    byId("speaker-row").hidden = !this.#conversation.sound.canChooseSpeaker;
    if (!globalThis.isSecureContext) this.#notices.showProblem("insecure", "");
    document.documentElement.dataset.ready = "true";
  }

  // --- what the caller does

  #wireButtons() {
    byId("connect").addEventListener("click", () => this.#toggleConversation());
    byId("mute").addEventListener("click", () => this.#toggleMute());
    byId("record").addEventListener("click", () => this.#toggleRecording());
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

  #start() {
    const values = this.#settings.values;
    this.#notices.solveAll();
    this.#statistics.clear();
    this.#graph.clear();
    this.#transcript.divide("New conversation");
    this.#conversation.start({
      address: (resume) => chatUrl(location, values, resume),
      choices: this.#preferences.choices,
      record: this.#preferences.choices.record,
    });
  }

  #toggleMute() {
    this.#voices.muted = !this.#voices.muted;
    this.#conversation.sound.mute(this.#voices.muted);
    byId("mute").setAttribute("aria-pressed", String(this.#voices.muted));
    setText(byId("mute-label"), this.#voices.muted ? "Muted" : "Mute");
  }

  /** During a conversation: starts or ends this recording. Before one: whether it will be recorded. */
  #toggleRecording() {
    const { choices } = this.#preferences;
    choices.record = !(this.#conversation.isRunning ? this.#conversation.recording : choices.record);
    this.#preferences.save();
    this.#settingChanged("record");
  }

  #act(action) {
    if (action === "cancel") this.#conversation.stop();
    else if (action === "resume-sound") this.#conversation.sound.resume();
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
    this.#showLamp(state);
    this.#showRunning(state !== "closed" && state !== "idle");
    if (state === "closed") this.#rest();
  }

  #ready(resumed, again) {
    if (again) {
      this.#showGoodNews(resumed ? "resumed" : "renewed");
      this.#transcript.divide(resumed ? "Connected again" : "Connected again: a new conversation");
    }
    this.#watch();
    this.#settings.refreshDevices();
  }

  #metadata(value) {
    this.#statistics.noteMetadata(value);
    if (value.queue && this.#conversation.connectionState === "waiting" && value.queue.position > 0) {
      this.#notices.showState(NOTICES.queued(value.queue));
    }
    if (value.event?.kind === "go_away") this.#notices.showProblem("going-away", value.event.detail);
  }

  #watch() {
    this.#stopWatching();
    this.#stage.run();
    this.#timers = [
      setInterval(() => this.#showStatistics(), STATISTICS_PERIOD_MS),
      setInterval(() => this.#graph.add(this.#conversation.latency.hops_ms), GRAPH_PERIOD_MS),
    ];
    if (this.#preferences.choices.film) this.#startFilm();
    this.#keepAwake();
  }

  #rest() {
    this.#stopWatching();
    this.#stage.rest();
    this.#endFilm();
    this.#wakeLock?.release().catch(() => {});
    this.#wakeLock = null;
  }

  #stopWatching() {
    for (const timer of this.#timers) clearInterval(timer);
    this.#timers = [];
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

  #showLamp(state) {
    const [lamp, text] = LAMPS[state];
    byId("lamp").dataset.lamp = lamp;
    setText(byId("lamp-text"), text);
    document.documentElement.dataset.state = state;
  }

  #showRunning(isRunning) {
    setText(byId("connect-label"), isRunning ? "Disconnect" : "Connect");
    byId("connect").classList.toggle("is-running", isRunning);
    this.#settings.lockParameters(isRunning);
    this.#showRecording();
  }

  #showRecording() {
    const isOn = this.#conversation.isRunning ? this.#conversation.recording !== null : this.#preferences.choices.record;
    byId("record").setAttribute("aria-pressed", String(isOn));
    setText(byId("record-label"), this.#conversation.recording ? "Recording" : "Record");
    byId("choice-record").checked = this.#preferences.choices.record;
  }

  #showStatistics() {
    this.#statistics.show(this.#conversation);
    const { total_ms } = this.#conversation.latency;
    setText(byId("latency-now"), total_ms === null ? "–" : String(Math.round(total_ms)));
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
    this.#graph.draw();
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
