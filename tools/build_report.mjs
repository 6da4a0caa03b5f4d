/**
 * Bundles the page of `tracemalloc report`, lib/report/page/ and what it imports, into lib/report/generated/page.ts, so
 * that whoever makes a report needs neither the bundler nor the libraries. A test compares the two.
 *
 *   node tools/build_report.mjs
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { argv } from "node:process";
import { pathToFileURL } from "node:url";
import { root, runtimes } from "./runtimes.mjs";

const page = `${root}lib/report/page/`;

/** Where the bundle is. */
export const generated = `${root}lib/report/generated/page.ts`;

/** The text of the bundle. */
export function bundle() {
  const { status, stdout, stderr } = spawnSync(
    runtimes.bun,
    ["build", "--minify", "--target=browser", "--format=iife", `${page}main.ts`],
    { cwd: root, encoding: "utf8", maxBuffer: 2 ** 26 },
  );
  if (status !== 0) throw new Error(`the page cannot be bundled: ${stderr}`);
  const licences = ["d3-hierarchy", "d3-selection"].map((name) =>
    `${name}\n${readFileSync(`${root}node_modules/${name}/LICENSE`, "utf8")}`
  );
  // Neither can end the element that it will be in.
  const script = `/*!\n${licences.join("\n")}*/\n${stdout.trim()}`.replaceAll("</", "<\\/").replaceAll(
    "<!--",
    "<\\!--",
  );
  const style = readFileSync(`${page}style.css`, "utf8").replace(/\/\*.*?\*\//gs, "").replace(/\s+/g, " ").trim();
  const constants = { script, scriptHash: hash(script), style, styleHash: hash(style) };
  return Object.entries(constants).reduce(
    (text, [name, value]) => `${text}\nexport const ${name}: string = ${JSON.stringify(value)};\n`,
    "/** Made by tools/build_report.mjs; not to be edited. */\n",
  );
}

/** As a policy for content names it. */
function hash(text) {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) {
  mkdirSync(new URL(".", pathToFileURL(generated)), { recursive: true });
  writeFileSync(generated, bundle());
}
