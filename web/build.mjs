// Bundle the scripts and styles of web/src and of plug-in packages into a directory, with a hash of the content in each
// file name. The manifest (manifest.json) maps plain names to files; its key `needs` lists the static imports of each
// script. Also draws the sky.
// Usage: node build.mjs DIRECTORY
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { drawSky } from "./hips.mjs";

const webDirectory = path.dirname(fileURLToPath(import.meta.url));
const targetDirectory = path.resolve(process.argv[2]);
await mkdir(targetDirectory, { recursive: true });

const MIN_CHUNK_BYTES = 5000; // smaller chunks are merged
const PACKAGES_DIRECTORY = path.join(webDirectory, "../src/hven/plugins");

/** List the panes and styles of packages: the files at the top of their folders `scripts`. */
async function listPackageFiles() {
  const packageNames = (await readdir(PACKAGES_DIRECTORY)).sort();
  const directories = packageNames.map((name) => path.join(PACKAGES_DIRECTORY, name, "scripts")).filter(existsSync);
  const fileLists = await Promise.all(
    directories.map(async (directory) => (await readdir(directory)).sort().map((file) => path.join(directory, file))),
  );
  return fileLists.flat();
}

const packageFiles = await listPackageFiles();

/** A plugin that adds the panes of packages to those of main.js, and their styles to hven.css. */
const packagePlugin = {
  name: "packages",
  /** @param {import("esbuild").PluginBuild} build */
  setup({ onLoad, onResolve }) {
    onResolve({ filter: /^hven:panes$/ }, () => ({ path: "panes", namespace: "hven-packages" }));
    onLoad({ filter: /./, namespace: "hven-packages" }, () => {
      const lines = packageFiles
        .filter((file) => file.endsWith(".js"))
        .map((file) => `${JSON.stringify(path.parse(file).name)}: () => import(${JSON.stringify(file)}),`);
      return { contents: `export const PACKAGE_PANES = {${lines.join("\n")}};`, resolveDir: webDirectory };
    });
    onLoad({ filter: /[\\/]src[\\/]hven\.css$/ }, async ({ path: file }) => {
      const imports = packageFiles
        .filter((packageFile) => packageFile.endsWith(".css"))
        .map((packageFile) => `@import ${JSON.stringify(packageFile)};`);
      return { contents: `${await readFile(file, "utf-8")}\n${imports.join("\n")}`, loader: "css" };
    });
  },
};

/**
 * Run esbuild.
 * @param {import("esbuild").Plugin[]} plugins
 * @param {boolean} write
 */
const runBundler = (plugins, write) =>
  build({
    absWorkingDir: webDirectory,
    entryPoints: ["src/main.js", "src/hven.css"],
    // scripts of packages import the modules of web/src as hven/NAME.js, and npm packages like these
    alias: { hven: path.join(webDirectory, "src") },
    nodePaths: [path.join(webDirectory, "node_modules")],
    outdir: targetDirectory,
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
    // Aladin Lite is GPL-3: it stays a separate file, which the map loads by its address
    external: ["aladin-lite"],
    metafile: true,
    logLevel: "warning",
    plugins: [packagePlugin, ...plugins],
    write,
  });

/**
 * Create a plugin that makes all entry points import our small shared modules, so that these become one chunk instead
 * of
 * many of a few lines.
 */
async function createMergePlugin() {
  const outputs = Object.values((await runBundler([], false)).metafile.outputs);
  const isOwnScript = (/** @type {string} */ file) => file.startsWith("src/") && file.endsWith(".js");
  const sharedInputs = outputs
    .filter(({ entryPoint, bytes }) => !entryPoint && bytes < MIN_CHUNK_BYTES)
    .map(({ inputs }) => Object.keys(inputs))
    .filter((inputs) => inputs.every(isOwnScript));
  const contents = sharedInputs
    .flat()
    .sort()
    .map((file) => `import ${JSON.stringify(`./${file}`)};\n`)
    .join("");
  const entryPoints = new Set(outputs.map(({ entryPoint }) => path.resolve(webDirectory, entryPoint ?? "")));
  return {
    name: "merge-small-chunks",
    /** @param {import("esbuild").PluginBuild} build */
    setup({ onLoad, onResolve }) {
      onResolve({ filter: /^hven:shared$/ }, () => ({ path: "shared", namespace: "hven" }));
      onLoad({ filter: /./, namespace: "hven" }, () => ({ contents, resolveDir: webDirectory }));
      onLoad({ filter: /\.js$/ }, async ({ path: file }) => {
        if (!entryPoints.has(file)) return undefined;
        return { contents: `${await readFile(file, "utf-8")}\nimport "hven:shared";\n` };
      });
    },
  };
}

const result = await runBundler([await createMergePlugin()], true);

const { outputs } = result.metafile;

/** List the files that a script imports statically. */
function listStaticImports(file, imports = new Set()) {
  for (const { kind, path: imported } of outputs[file].imports) {
    if (kind !== "import-statement" || imports.has(imported) || !outputs[imported]) continue;
    listStaticImports(imported, imports.add(imported));
  }
  return imports;
}

const manifest = { needs: {} };
for (const [file, { entryPoint, cssBundle }] of Object.entries(outputs)) {
  if (entryPoint) {
    manifest[path.basename(entryPoint)] = path.basename(file);
    manifest.needs[path.basename(entryPoint)] = [...listStaticImports(file)].map((name) => path.basename(name));
  }
  if (cssBundle) manifest[`${path.basename(entryPoint, ".js")}.css`] = path.basename(cssBundle);
}

/** Write the name, version and licence text of each npm package whose code is in the bundles. */
async function writeNotices() {
  const inputs = Object.keys(result.metafile.inputs);
  const names = inputs.map((file) => /^node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1]).filter(Boolean);
  const notices = [];
  for (const name of [...new Set(names)].sort()) {
    const directory = path.join(webDirectory, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(path.join(directory, "package.json"), "utf-8"));
    const licenceFile = (await readdir(directory)).find((file) => /^licen[cs]e(\.\w+)?$/i.test(file));
    if (!licenceFile)
      throw new Error(`${name} ${version} (${license}) has no file with its licence, so it cannot be bundled`);
    notices.push(
      `${name} ${version} (${license})\n\n${(await readFile(path.join(directory, licenceFile), "utf-8")).trim()}\n`,
    );
  }
  await writeFile(path.join(targetDirectory, "LICENSES.txt"), notices.join(`\n${"-".repeat(79)}\n\n`));
}

await writeNotices();

/** Copy Aladin Lite, which is GPL-3, as a separate file with its licence and the address of its source. */
async function copyAladin() {
  const aladin = path.join(webDirectory, "node_modules/aladin-lite");
  const { version, repository } = JSON.parse(await readFile(path.join(aladin, "package.json"), "utf-8"));
  const code = await readFile(path.join(aladin, "dist/aladin.js"));
  const hash = createHash("sha256").update(code).digest("hex").slice(0, 8).toUpperCase();
  manifest["aladin.js"] = `aladin-${hash}.js`;
  await writeFile(path.join(targetDirectory, manifest["aladin.js"]), code);
  const source = `its source is at ${repository.url}, tag ${version}`;
  const notice = `Aladin Lite ${version}, unchanged; ${source}. GPL-3.0-only:\n\n`;
  await writeFile(
    path.join(targetDirectory, "aladin-COPYING.txt"),
    notice + (await readFile(path.join(aladin, "COPYING"), "utf-8")),
  );
}

await copyAladin();
await writeFile(path.join(targetDirectory, "manifest.json"), `${JSON.stringify(manifest, null, 1)}\n`);
await drawSky(path.join(targetDirectory, "sky"));
