// What eslint looks for: what is wrong, and what has grown too big to be read at once. How lines are set is prettier's.
import js from "@eslint/js";

const NODE = [
  "Buffer",
  "Event",
  "Response",
  "URL",
  "URLSearchParams",
  "globalThis",
  "location",
  "process",
  "setTimeout",
];

export default [
  js.configs.recommended,
  {
    rules: {
      "no-undef": "off", // the compiler of types knows better which names a browser has
      "no-unused-vars": ["error", { args: "after-used", caughtErrors: "none" }],
      "no-var": "error",
      "prefer-const": "error",
      "prefer-template": "error",
      "object-shorthand": "error",
      "no-implicit-coercion": "error",
      "no-shadow": "error",
      eqeqeq: "error",
      "max-lines": ["error", 400],
      "max-lines-per-function": ["error", { max: 60, skipBlankLines: true, skipComments: true }],
      complexity: ["error", 20],
    },
  },
  {
    files: ["*.mjs", "*.js", "test/**"], // what node runs
    languageOptions: { globals: Object.fromEntries(NODE.map((name) => [name, "readonly"])) },
    rules: { "no-undef": "error" },
  },
];
