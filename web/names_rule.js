// An eslint rule for names: a function begins with a verb, a number of a module is a constant in capitals, and no value
// has a name that could stand for anything. The lists of words are those of the Python source (tests/words).
import { readFileSync } from "node:fs";

const WORD_LISTS = new URL("../tests/words/", import.meta.url);
const FURTHER_VERBS = `
  accept acknowledge ask attach call chain clamp clear clip colour contain continue destroy dispatch emit enable
  escape exit extend fetch filter fit focus fold get group handle have hide hover initialize interpolate listen mount
  normalize offer offset omit pad paint pair pan parse pick pinch ping place post prevent project query quote reach
  redraw register repaint resize restart reveal schedule serialize settle share sort stop stroke submit subscribe
  substitute synchronize throw toggle trace turn unregister zoom`;
const PREDICATES = ["is", "has", "have", "can", "are", "accepts", "contains", "matches", "needs"];
const CONVERSIONS = ["from", "to", "with"];
const CALLBACK = "on"; // onChange
// names that a base class, a library or mathematics prescribes
const EXEMPT = new Set(["constructor", "toString", "entries", "lineTo", "t", "x", "y"]);

/** @param {string} name */
function readWords(name) {
  const lines = readFileSync(new URL(`${name}.txt`, WORD_LISTS), "utf-8").split("\n");
  return new Set(lines.flatMap((line) => line.replace(/#.*/, "").split(/\s+/)).filter(Boolean));
}

const VERBS = new Set([...readWords("verbs"), ...FURTHER_VERBS.split(/\s+/), ...PREDICATES, CALLBACK]);
const VAGUE_NAMES = new Set([...readWords("vague_names"), "at", "it"]);
VAGUE_NAMES.delete("left"); // an edge of a rectangle

/**
 * Split a name into its words, in lower case.
 * @param {string} name
 */
function splitName(name) {
  return name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .toLowerCase()
    .split(/[^a-z0-9]+/)
    .filter(Boolean);
}

/**
 * Return whether a function's name begins with a verb, asks a question, or says what it converts to what.
 * @param {string} name
 */
export function isPlainFunctionName(name) {
  const words = splitName(name);
  const converts = words.slice(0, -1).includes("to") || CONVERSIONS.includes(words[0]);
  return EXEMPT.has(name) || VERBS.has(words[0]) || converts;
}

/**
 * List the identifiers that a pattern binds.
 * @param {any} pattern
 * @returns {any[]}
 */
function listBoundNames(pattern) {
  if (pattern === null) return [];
  if (pattern.type === "Identifier") return [pattern];
  if (pattern.type === "ObjectPattern") {
    // a shorthand keeps the name that the object gives: `{ rest } = view`
    return pattern.properties.flatMap((property) => {
      if (property.shorthand) return [];
      return listBoundNames(property.argument ?? property.value);
    });
  }
  if (pattern.type === "ArrayPattern") return pattern.elements.flatMap(listBoundNames);
  if (pattern.type === "AssignmentPattern") return listBoundNames(pattern.left);
  if (pattern.type === "RestElement") return listBoundNames(pattern.argument);
  return [];
}

/** @param {any} node */
function isFunction(node) {
  return node?.type === "ArrowFunctionExpression" || node?.type === "FunctionExpression";
}

export const plainNames = {
  meta: {
    type: "suggestion",
    schema: [],
    messages: {
      verb: "{{name}}: a function begins with a verb of tests/words/verbs.txt or web/names_rule.js",
      vague: "{{name}} could stand for anything: say what it is",
      unit: "{{name}}: a number of a module is a constant in capitals, with its unit",
    },
  },
  create(context) {
    const judgeFunction = (node, name) => {
      if (!isPlainFunctionName(name)) context.report({ node, messageId: "verb", data: { name } });
    };
    const judgeValue = (node) => {
      if (VAGUE_NAMES.has(node.name)) context.report({ node, messageId: "vague", data: { name: node.name } });
    };
    const judgeFunctionNode = (node) => {
      if (node.id) judgeFunction(node.id, node.id.name);
      for (const parameter of node.params) listBoundNames(parameter).forEach(judgeValue);
    };
    return {
      FunctionDeclaration: judgeFunctionNode,
      FunctionExpression: judgeFunctionNode,
      ArrowFunctionExpression: judgeFunctionNode,
      MethodDefinition(node) {
        if (node.kind === "method") judgeFunction(node.key, node.key.name);
      },
      VariableDeclarator(node) {
        if (isFunction(node.init)) return judgeFunction(node.id, node.id.name);
        listBoundNames(node.id).forEach(judgeValue);
        const isModuleConstant = node.parent.kind === "const" && /^(Program|ExportNamed)/.test(node.parent.parent.type);
        if (!isModuleConstant || node.init?.type !== "Literal" || typeof node.init.value !== "number") return;
        if (/^[A-Z]/.test(node.id.name)) return;
        context.report({ node, messageId: "unit", data: { name: node.id.name } });
      },
    };
  },
};
