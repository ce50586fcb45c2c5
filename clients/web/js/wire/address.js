// Where the server is, and what its address carries: query parameters of /api/chat (docs/websocket.md).

const PASSED_ON = ["token", "worker_auth_id", "loopback"]; // from the page's address to the server's
const CHAT_PATH = "api/chat"; // beside the page, also below a path of a reverse proxy
const PAGE_SETTINGS = "settings.json"; // beside the page too

/**
 * The address of the server.
 * @param {Location | URL} page where the page came from; its `worker_addr` names another host
 * @param {Record<string, number>} values sampling and seeds, those that the server is asked for
 * @returns {string}
 */
export function chatUrl(page, values) {
  const asked = new URLSearchParams(page.search);
  const other = otherServer(page);
  const url = other === null ? new URL(CHAT_PATH, page.href) : new URL(`${page.protocol}//${other}/${CHAT_PATH}`);
  url.protocol = page.protocol === "https:" ? "wss:" : "ws:";
  for (const [name, value] of Object.entries(values)) url.searchParams.set(name, String(value));
  url.searchParams.set("stats", "true"); // for the figures of the page
  for (const name of PASSED_ON) {
    if (asked.has(name)) url.searchParams.set(name, asked.get(name));
  }
  return url.href;
}

/** The host of another server that the page's address asks for; null: the page's own. @param {Location | URL} page */
export function otherServer(page) {
  const asked = new URLSearchParams(page.search).get("worker_addr");
  return asked === null || asked === page.host ? null : asked;
}

/**
 * Whether the operator of this page lets it send a voice to that server. Anybody can write an address with a trusted
 * page in it, so that the address alone decides nothing.
 * @param {string} host @param {Location | URL} page @param {typeof fetch} load
 */
export async function isAllowed(host, page, load = fetch) {
  try {
    const { worker_hosts: hosts } = await (await load(new URL(PAGE_SETTINGS, page.href))).json();
    return Array.isArray(hosts) && hosts.includes(host);
  } catch {
    return false; // no such file: nobody is allowed
  }
}
