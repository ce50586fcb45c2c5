// Messages of /api/chat: the first byte is the type, the rest the payload (docs/websocket.md).

const HANDSHAKE = 0;
const AUDIO = 1;
const TEXT = 2;
const METADATA = 4;
const ERROR = 5;
const PING = 6;
const COLOURED_TEXT = 7;

const utf8 = new TextDecoder();

/** @param {Uint8Array} oggBytes @returns {Uint8Array} */
export function audioMessage(oggBytes) {
  const message = new Uint8Array(oggBytes.length + 1);
  message[0] = AUDIO;
  message.set(oggBytes, 1);
  return message;
}

/** @returns {Uint8Array} */
export function pingMessage() {
  return Uint8Array.of(PING);
}

/**
 * @typedef {{kind: "handshake"} | {kind: "audio", bytes: Uint8Array} | {kind: "text", text: string, colour?: number}
 *   | {kind: "metadata", value: object} | {kind: "error", text: string} | {kind: "ping"} | {kind: "unknown"}} Message
 * @param {ArrayBuffer | string} data of a WebSocket message
 * @returns {Message} what is not of this protocol is "unknown", never an exception
 */
export function parse(data) {
  if (typeof data === "string" || data.byteLength === 0) return { kind: "unknown" };
  const bytes = new Uint8Array(data);
  const payload = bytes.subarray(1);
  switch (bytes[0]) {
    case HANDSHAKE:
      return { kind: "handshake" };
    case AUDIO:
      return { kind: "audio", bytes: payload };
    case TEXT:
      return { kind: "text", text: utf8.decode(payload) };
    case METADATA:
      return parseMetadata(payload);
    case ERROR:
      return { kind: "error", text: utf8.decode(payload) };
    case PING:
      return { kind: "ping" };
    case COLOURED_TEXT:
      return { kind: "text", text: utf8.decode(payload.subarray(1)), colour: payload[0] ?? 0 };
    default:
      return { kind: "unknown" };
  }
}

function parseMetadata(payload) {
  try {
    const value = JSON.parse(utf8.decode(payload));
    const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
    return isObject ? { kind: "metadata", value } : { kind: "unknown" };
  } catch {
    return { kind: "unknown" };
  }
}
