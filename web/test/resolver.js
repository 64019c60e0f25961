// Lets node find the modules of web/src that scripts of plug-in packages import as `hven/NAME.js`.
import { register } from "node:module";

const SOURCE_URL = new URL("../src/", import.meta.url).href;
const HOOKS = `export function resolve(name, context, nextResolve) {
  return nextResolve(name.replace(/^hven\\//, ${JSON.stringify(SOURCE_URL)}), context);
}`;

register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);
