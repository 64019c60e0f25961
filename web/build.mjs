// Bundles scripts and styles of web/src into a directory, names with a hash of the content, writes manifest.json: plain name -> file, and in `needs` what a script imports at once, and draws the sky. Usage: node build.mjs DIRECTORY
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { draw } from "./hips.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const out = path.resolve(process.argv[2]);
await mkdir(out, { recursive: true });

const SMALL = 5000; // bytes of a script that is fetched with others sooner than alone

/**
 * Bundle.
 * @param {import("esbuild").Plugin[]} plugins
 * @param {boolean} write
 */
const bundled = (plugins, write) =>
  build({
    absWorkingDir: here,
    entryPoints: ["src/main.js", "src/hven.css"],
    outdir: out,
    bundle: true,
    splitting: true,
    format: "esm",
    target: ["es2022"],
    minify: true,
    legalComments: "linked",
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    assetNames: "[name]-[hash]",
    loader: { ".svg": "text" },
    // Aladin Lite is GPL-3: a file of its own, never bundled with other scripts; the map loads it by its address
    external: ["aladin-lite"],
    metafile: true,
    logLevel: "warning",
    plugins,
    write,
  });

/** Have all that a page may begin with import the modules of ours that several of them share, so that these become one file, and not many of a few lines each. */
async function together() {
  const outputs = Object.values((await bundled([], false)).metafile.outputs);
  const own = (/** @type {string} */ one) => one.startsWith("src/") && one.endsWith(".js");
  const shared = outputs
    .filter(({ entryPoint, bytes }) => !entryPoint && bytes < SMALL)
    .map(({ inputs }) => Object.keys(inputs))
    .filter((some) => some.every(own));
  const contents = shared.flat().sort().map((one) => `import ${JSON.stringify(`./${one}`)};\n`).join(""); // prettier-ignore
  const begin = new Set(outputs.map(({ entryPoint }) => path.resolve(here, entryPoint ?? "")));
  return {
    name: "together",
    /** @param {import("esbuild").PluginBuild} build */
    setup({ onLoad, onResolve }) {
      onResolve({ filter: /^hven:shared$/ }, () => ({ path: "shared", namespace: "hven" }));
      onLoad({ filter: /./, namespace: "hven" }, () => ({ contents, resolveDir: here }));
      onLoad({ filter: /\.js$/ }, async ({ path: file }) => {
        if (!begin.has(file)) return undefined;
        return { contents: `${await readFile(file, "utf-8")}\nimport "hven:shared";\n` };
      });
    },
  };
}

const made = await bundled([await together()], true);

const { outputs } = made.metafile;

/** Gather the files that a script cannot begin without. */
function needed(file, found = new Set()) {
  for (const { kind, path: other } of outputs[file].imports) {
    if (kind !== "import-statement" || found.has(other) || !outputs[other]) continue;
    needed(other, found.add(other));
  }
  return found;
}

const manifest = { needs: {} };
for (const [file, facts] of Object.entries(outputs)) {
  if (facts.entryPoint) {
    manifest[path.basename(facts.entryPoint)] = path.basename(file);
    manifest.needs[path.basename(facts.entryPoint)] = [...needed(file)].map((one) => path.basename(one));
  }
  if (facts.cssBundle) manifest[`${path.basename(facts.entryPoint, ".js")}.css`] = path.basename(facts.cssBundle);
}

/** Write the name, version and licence text of each npm package whose code is in the bundles. */
async function writeNotices() {
  const inputs = Object.keys(made.metafile.inputs);
  const found = inputs.map((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]).filter(Boolean);
  const notices = [];
  for (const name of [...new Set(found)].sort()) {
    const directory = path.join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(path.join(directory, "package.json"), "utf-8"));
    const text = (await readdir(directory)).find((file) => /^licen[cs]e(\.\w+)?$/i.test(file));
    if (!text) throw new Error(`${name} ${version} (${license}) has no file with its licence, so it cannot be bundled`);
    notices.push(
      `${name} ${version} (${license})\n\n${(await readFile(path.join(directory, text), "utf-8")).trim()}\n`,
    );
  }
  await writeFile(path.join(out, "LICENSES.txt"), notices.join(`\n${"-".repeat(79)}\n\n`));
}

await writeNotices();

/** Copy Aladin Lite, which is GPL-3, as a file of its own, with its licence and where its source is. */
async function copyAladin() {
  const aladin = path.join(here, "node_modules/aladin-lite");
  const { version, repository } = JSON.parse(await readFile(path.join(aladin, "package.json"), "utf-8"));
  const code = await readFile(path.join(aladin, "dist/aladin.js"));
  const hash = createHash("sha256").update(code).digest("hex").slice(0, 8).toUpperCase();
  manifest["aladin.js"] = `aladin-${hash}.js`;
  await writeFile(path.join(out, manifest["aladin.js"]), code);
  const head = `Aladin Lite ${version}, unchanged; its source is at ${repository.url}, tag ${version}. GPL-3.0-only:\n\n`;
  await writeFile(path.join(out, "aladin-COPYING.txt"), head + (await readFile(path.join(aladin, "COPYING"), "utf-8")));
}

await copyAladin();
await writeFile(path.join(out, "manifest.json"), `${JSON.stringify(manifest, null, 1)}\n`);
await draw(path.join(out, "sky"));
