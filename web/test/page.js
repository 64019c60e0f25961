// The parts of a page that modules need outside of a browser: address, history, events of the window.

const listeners = new Map();

export const historySteps = [];

globalThis.location = { search: "", pathname: "/collections/stars/main", hash: "", origin: "http://vo.example" };
globalThis.addEventListener = (name, listener) => listeners.set(name, [...(listeners.get(name) ?? []), listener]);
globalThis.history = {
  pushState: (_, __, address) => historySteps.push(["push", address]),
  replaceState: (_, __, address) => historySteps.push(["replace", address]),
};

/** Dispatch an event of the window. */
export function dispatchWindowEvent(name) {
  for (const listener of listeners.get(name) ?? []) listener(new Event(name));
}

/** Return an English text with its values. */
export const t = (text, values = {}) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** Create a workspace; `answers` returns the response to a path and its parameters. */
export function createWorkspace(answers, search = "") {
  const questions = [];
  return {
    questions,
    language: "en",
    t,
    formatNumber: (value) => value.toLocaleString("en"),
    state: {
      withChanges: (changes) => {
        const next = new URLSearchParams(search);
        for (const [name, value] of Object.entries(changes)) {
          if (value === null) next.delete(name);
          else next.set(name, value);
        }
        return next;
      },
    },
    async fetchJson(path, { state }) {
      questions.push(`${path}?${state}`);
      return answers(path, new URLSearchParams(String(state)));
    },
  };
}
