// What eslint looks for: errors, functions and modules that are too long, and names that say nothing. Prettier sets
// lines. It runs at the root of the checkout, where plug-in packages have scripts, too.
import js from "@eslint/js";
import { plainNames } from "./names_rule.js";

const NODE_FILES = ["web/*.mjs", "web/*.js", "web/test/**", "tests/**/*.test.js"]; // what node runs
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
      "no-nested-ternary": "error",
      "no-sequences": "error",
      "no-unused-expressions": "error",
    },
  },
  {
    files: ["**/src/**/*.js", ...NODE_FILES],
    plugins: { hven: { rules: { "plain-names": plainNames } } },
    rules: {
      "hven/plain-names": "error",
      // messages are one string each, for the catalogues
      "max-len": ["error", { code: 120, ignorePattern: '^\\s*"[^"]*",?$' }],
    },
  },
  {
    files: NODE_FILES,
    languageOptions: { globals: Object.fromEntries(NODE.map((name) => [name, "readonly"])) },
    rules: { "no-undef": "error" },
  },
];
