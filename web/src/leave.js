// The browser's leave to reach programs on the reader's computer (Local Network Access): Chrome asks the reader for it from 142 on.

/** @typedef {(text: string) => string} Words */

const LEAVES = ["loopback-network", "local-network-access", "local-network"]; // newer names first
const ASKED = 60_000; // milliseconds that a reader has for the browser's question
const HAND = 0.5; // seconds that it takes a person at least to close one

/**
 * The leave that a page needs to reach this computer; null: the browser knows none, or needs none for a page of this computer itself.
 * @returns {Promise<PermissionStatus | null>}
 */
export async function leave(host = location.hostname) {
  if (/^(?:(?:.*\.)?localhost|127(?:\.\d+){3}|\[::1\])$/.test(host)) return null;
  for (const name of LEAVES) {
    try {
      return await navigator.permissions.query({ name: /** @type {PermissionName} */ (name) });
    } catch {
      // a name that this browser does not know
    }
  }
  return null;
}

/**
 * Tell why nothing was heard: the browser was `refused` leave, its question was `overlooked` or `closed`, or the hub is `missing`.
 * @param {{before?: string, after?: string, seconds: number, late: boolean}} found
 */
export function unheard({ before = "", after = "", seconds, late }) {
  if (after === "denied") return "refused";
  if (before !== "prompt" || after !== "prompt") return "missing";
  if (late) return "overlooked";
  return seconds > HAND ? "closed" : "missing";
}

/**
 * Reach the hub; that the browser asks first is said before it does. Who gives leave in the browser's settings need not press again.
 * @param {(within?: number) => Promise<void>} ping
 * @param {(text: string) => void} say
 * @param {Words} t
 * @param {() => void} again
 * @returns {Promise<string>} why nothing was heard; empty: a hub answers
 */
export async function reach(ping, say, t, again) {
  const asked = await leave();
  const before = asked?.state;
  if (before === "prompt")
    say(t("If your browser asks whether this page may reach programs on this computer, allow it."));
  const begun = performance.now();
  try {
    await ping(before === "prompt" ? ASKED : undefined);
    return "";
  } catch (/** @type {any} */ error) {
    const seconds = (performance.now() - begun) / 1000;
    const after = asked ? (await leave())?.state : "";
    const silent = unheard({ before, after, seconds, late: error.name === "TimeoutError" });
    if (asked && silent !== "missing") {
      asked.onchange = () => {
        if (asked.state === "granted") again();
      };
    }
    return silent;
  }
}

/**
 * Say why nothing was heard, and what helps.
 * @param {string} silent as `unheard` tells it
 * @param {Words} t
 */
export function why(silent, t) {
  if (silent === "refused")
    return t(
      "Your browser does not let this page reach programs on this computer, so nobody knows whether a SAMP hub is there. Allow it at the sign beside the page's address (local network, or apps on this device), then connect again; or open this address in the program:",
    );
  if (silent !== "missing")
    return t(
      "Your browser asked whether this page may reach programs on this computer, and was not answered. Connect again, and allow it; or open this address in the program:",
    );
  const safari = /^((?!chrom|android).)*safari/i.test(navigator.userAgent);
  const more =
    location.protocol === "https:" && safari
      ? ` ${t("Safari lets no secure page speak to a hub: use another browser.")}`
      : isSecureContext
        ? ""
        : ` ${t("Some browsers let only secure pages (https) speak to a hub.")}`; // newer ones do
  const start = t(
    "No SAMP hub answers on this computer. Start TOPCAT or Aladin, then connect again; or open this address in the program:",
  );
  return `${start}${more}`;
}
