// What the page says when something is wrong or takes time: a title that names it, a text that helps.

const BROWSERS = "Recent versions of Chrome and Edge, Firefox from 130 and Safari from 26";

/**
 * @typedef {"connect" | "new" | "go-on" | "cancel" | "resume-sound"} Action
 * @typedef {{tone: "error" | "warning" | "progress" | "good", title: string, text: string, actions?: Action[]}} Notice
 * @type {Record<string, (detail: any) => Notice>}
 */
export const NOTICES = {
  insecure: () => ({
    tone: "error",
    title: "This page needs https",
    text:
      "Browsers give the microphone only to pages from https:// or from localhost. Ask whoever runs this server for " +
      "its https address, or open it through localhost.",
  }),
  "no-codec": () => ({
    tone: "error",
    title: "This browser is too old for the voice",
    text: `The page uses the Opus codec of the browser itself (WebCodecs). ${BROWSERS} have it.`,
  }),
  "mic-denied": () => ({
    tone: "error",
    title: "The microphone was refused",
    text: "Allow it for this page: the sign beside the address opens the permissions. Then connect again.",
    actions: ["connect"],
  }),
  "mic-missing": () => ({
    tone: "error",
    title: "No microphone found",
    text: "Plug one in, or turn it on in the system's settings, and connect again.",
    actions: ["connect"],
  }),
  "mic-busy": () => ({
    tone: "error",
    title: "The microphone does not start",
    text: "Another program may be using it. Close that one, or choose another microphone in the settings.",
    actions: ["connect"],
  }),
  "mic-lost": () => ({
    tone: "warning",
    title: "The microphone is gone",
    text: "It was unplugged or its permission taken back. Moshi hears silence until you choose one in the settings.",
  }),
  "sound-failed": (detail) => ({
    tone: "error",
    title: "The sound does not start",
    text: `The browser says: ${detail || "nothing"}. Reloading the page often helps.`,
    actions: ["connect"],
  }),
  "sound-paused": () => ({
    tone: "warning",
    title: "The system has paused the sound",
    text: "Another call or program has taken it.",
    actions: ["resume-sound"],
  }),
  "codec-failed": (detail) => ({
    tone: "error",
    title: "The voice could not be coded",
    text: `The browser's Opus codec gave up: ${detail || "no reason given"}.`,
    actions: ["connect"],
  }),
  connecting: () => ({ tone: "progress", title: "Connecting", text: "Calling the server.", actions: ["cancel"] }),
  preparing: () => ({
    tone: "progress",
    title: "Waiting for the microphone",
    text: "Your browser may ask whether this page may use it.",
    actions: ["cancel"],
  }),
  waiting: () => ({
    tone: "progress",
    title: "Waiting for a free place",
    text: "The server has answered; all its places may be taken. You will be connected as soon as one is free.",
    actions: ["cancel"],
  }),
  queued: ({ position, waiting }) => ({
    tone: "progress",
    title: position <= 1 ? "You are next" : `You are number ${position} in the queue`,
    text: `All places are taken. ${waitingText(waiting)} You keep your turn while this page is open.`,
    actions: ["cancel"],
  }),
  resuming: ({ attempt, of, detail }) => ({
    tone: "warning",
    title: "The connection was lost",
    text: `Trying to take up the conversation again, attempt ${attempt} of ${of}.${because(detail)}`,
    actions: ["cancel"],
  }),
  resumed: () => ({ tone: "good", title: "Connected again", text: "The conversation goes on where it was." }),
  renewed: () => ({
    tone: "good",
    title: "Connected again",
    text: "The server did not keep the old conversation: a new one has begun.",
  }),
  stalled: (duration) => ({
    tone: "warning",
    title: "The server is silent",
    text: `Nothing has come for ${duration}. The page reconnects by itself after 10 s.`,
  }),
  unreachable: (detail) => ({
    tone: "error",
    title: "The server cannot be reached",
    text:
      `It may be down, or the address wrong.${because(detail)} If it has a self-signed certificate, open its https ` +
      "address in this browser once and accept the warning.",
    actions: ["connect"],
  }),
  full: (detail) => ({
    tone: "error",
    title: "The server is full",
    text: `Every place is taken, and the queue is full too.${because(detail)} Try again in a minute.`,
    actions: ["connect"],
  }),
  refused: (detail) => ({
    tone: "error",
    title: "The server refused the conversation",
    text: `${sentence(detail) || "It did not say why: credentials or parameters may be missing or wrong."}`,
    actions: ["connect"],
  }),
  protocol: (detail) => ({
    tone: "error",
    title: "Page and server do not understand each other",
    text: `They may be of different versions: reload the page.${because(detail)}`,
    actions: ["connect"],
  }),
  lost: (detail) => ({
    tone: "error",
    title: "The connection is lost",
    text: `Several attempts to come back failed.${because(detail)}`,
    actions: ["connect"],
  }),
  forgotten: () => ({
    tone: "warning",
    title: "The old conversation is gone",
    text: "The server kept it for a while after the connection was lost, and that time is over.",
    actions: ["new"],
  }),
  "other-server": (host) => ({
    tone: "error",
    title: "This page does not call another server",
    text:
      `Its address asks for ${host} (worker_addr), which whoever runs this page has not allowed. Without worker_addr ` +
      "in the address the page talks with its own server.",
  }),
  failed: (detail) => ({
    tone: "error",
    title: "The server failed",
    text: `It ended the conversation before it began.${because(detail)}`,
    actions: ["connect"],
  }),
  ended: (detail) => ({
    tone: "good",
    title: "The conversation has ended",
    text: sentence(detail) || "The server ended it.",
    actions: ["connect"],
  }),
  "going-away": (detail) => ({
    tone: "warning",
    title: "The server is about to stop",
    text: `${sentence(detail) || "The page will connect again by itself."}`,
  }),
  offline: () => ({
    tone: "warning",
    title: "This device is offline",
    text: "The conversation goes on as soon as the network is back.",
  }),
};

/** Which notice a state of the conversation shows; null for none. */
export function noticeOfState(state, details) {
  switch (state) {
    case "preparing":
    case "connecting":
    case "waiting":
    case "resuming":
      return NOTICES[state](details);
    case "closed":
      return noticeOfEnd(details);
    default:
      return null;
  }
}

/** Why it is over, and whether the server still has the conversation. */
function noticeOfEnd({ why, detail, kept_ms = 0 }) {
  const notice = NOTICES[why]?.(detail) ?? null;
  if (kept_ms <= 0) return notice;
  return { ...notice, text: `${notice.text} The server keeps the conversation for a while.`, actions: ["go-on", "new"] };
}

function because(detail) {
  return detail ? ` (${String(detail).replace(/[.\s]+$/, "")}.)` : "";
}

function sentence(detail) {
  return detail ? String(detail).replace(/[.\s]*$/, ".") : "";
}

function waitingText(waiting) {
  if (!(waiting > 0)) return "";
  return waiting === 1 ? "Nobody else is waiting." : `${waiting} are waiting.`;
}
