// What modules want of a page when they are not in one: an address, its history, events of the window.

const listeners = new Map();

export const history = [];

globalThis.location = { search: "", pathname: "/collections/stars/main", hash: "", origin: "http://vo.example" };
globalThis.addEventListener = (name, act) => listeners.set(name, [...(listeners.get(name) ?? []), act]);
globalThis.history = {
  pushState: (_, __, address) => history.push(["push", address]),
  replaceState: (_, __, address) => history.push(["replace", address]),
};

/** Tell the window's listeners of an event. */
export function happen(name) {
  for (const act of listeners.get(name) ?? []) act(new Event(name));
}

/** The words of a page: English, with values filled in. */
export const t = (text, values = {}) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** A workspace that is asked; `answers` gives what comes of a path and its parameters. */
export function asked(answers, search = "") {
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
