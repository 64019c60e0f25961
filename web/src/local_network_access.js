// The browser's permission to reach programs on the user's computer (Local Network Access; Chrome asks since version
// 142).

/** @typedef {(text: string) => string} Translate */

const PERMISSION_NAMES = ["loopback-network", "local-network-access", "local-network"]; // newer names first
const PROMPT_MILLISECONDS = 60_000; // how long the user has to answer the browser's prompt
const MIN_REACTION_SECONDS = 0.5; // a person needs at least this long to dismiss a prompt

/**
 * Query the permission that this page needs; null if the browser has no such permission, or the page comes from this
 * computer.
 * @returns {Promise<PermissionStatus | null>}
 */
export async function queryPermission(host = location.hostname) {
  if (/^(?:(?:.*\.)?localhost|127(?:\.\d+){3}|\[::1\])$/.test(host)) return null;
  for (const name of PERMISSION_NAMES) {
    try {
      return await navigator.permissions.query({ name: /** @type {PermissionName} */ (name) });
    } catch {
      // unknown to this browser
    }
  }
  return null;
}

/**
 * Classify why the hub did not answer: permission `refused`, prompt `overlooked` or `closed`, or hub `missing`.
 * @param {{before?: string, after?: string, seconds: number, isTimedOut: boolean}} facts
 */
export function classifySilence({ before = "", after = "", seconds, isTimedOut }) {
  if (after === "denied") return "refused";
  if (before !== "prompt" || after !== "prompt") return "missing";
  if (isTimedOut) return "overlooked";
  return seconds > MIN_REACTION_SECONDS ? "closed" : "missing";
}

/**
 * Reach the hub, and announce the browser's prompt before it appears. A permission granted in the settings retries by
 * itself.
 * @param {(within?: number) => Promise<void>} ping
 * @param {(text: string) => void} showText
 * @param {Translate} t
 * @param {() => void} retry
 * @returns {Promise<string>} why the hub did not answer; empty if it did
 */
export async function reachHub(ping, showText, t, retry) {
  const permission = await queryPermission();
  const before = permission?.state;
  if (before === "prompt")
    showText(t("If your browser asks whether this page may reach programs on this computer, allow it."));
  const startTime = performance.now();
  try {
    await ping(before === "prompt" ? PROMPT_MILLISECONDS : undefined);
    return "";
  } catch (/** @type {any} */ error) {
    const seconds = (performance.now() - startTime) / 1000;
    const after = permission ? (await queryPermission())?.state : "";
    const reason = classifySilence({ before, after, seconds, isTimedOut: error.name === "TimeoutError" });
    if (permission && reason !== "missing") {
      permission.onchange = () => {
        if (permission.state === "granted") retry();
      };
    }
    return reason;
  }
}

/**
 * Explain why the hub did not answer, and what helps.
 * @param {string} reason as `classifySilence` returns it
 * @param {Translate} t
 */
export function explainSilence(reason, t) {
  if (reason === "refused")
    return t(
      "Your browser does not let this page reach programs on this computer, so the page cannot find a SAMP hub. Click the icon beside the page's address, allow access to the local network (or to apps on this device), and connect again. Or open this address in the program:",
    );
  if (reason !== "missing")
    return t(
      "Your browser asked whether this page may reach programs on this computer, but got no answer. Connect again, and allow access. Or open this address in the program:",
    );
  const isSafari = /^((?!chrom|android).)*safari/i.test(navigator.userAgent);
  let hint = "";
  if (location.protocol === "https:" && isSafari)
    hint = `${t("In Safari, secure pages (https) cannot connect to a hub. Use another browser.")} `;
  // newer browsers refuse pages without https
  else if (!isSecureContext) hint = `${t("Some browsers let only secure pages (https) connect to a hub.")} `;
  const advice = t(
    "No SAMP hub answers on this computer. Start TOPCAT or Aladin, then connect again. Or open this address in the program:",
  );
  return `${hint}${advice}`; // the address follows the advice
}
