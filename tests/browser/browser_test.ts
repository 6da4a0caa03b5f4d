/**
 * The model, the format's reader and writer and the aggregation run in a browser: they are bundled for one without any
 * import being left, and the bundle tests the laws in headless Chromium. Where there is none, it does so in a context
 * that has what the language and the web's standards give and nothing of the runtime.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { test } from "node:test";
import { createContext, runInContext } from "node:vm";
import { assert, assertEquals, assertNotMatch } from "@std/assert";
import { fromFileUrl, join } from "@std/path";
import { laws } from "../laws/laws.ts";
import { runtimes } from "../../tools/runtimes.mjs";

const timeout = 600_000;

test("the laws hold in a browser", { timeout }, async () => {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-browser-"));
  try {
    const script = bundle(folder);
    const inChromium = runInChromium(folder, script);
    const text = inChromium ?? await runInBareContext(script);
    console.log(`browser: laws tested in ${inChromium === null ? "a bare context: there is no chromium" : "Chromium"}`);
    const expected = [...laws.map(({ name }) => `ok ${name}`), `${laws.length} laws tested`];
    assertEquals(text.split("\n"), expected);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** The text of a script without imports. */
function bundle(folder: string): string {
  const output = join(folder, "bundle.js");
  const entry = fromFileUrl(new URL("entry.ts", import.meta.url));
  // What lib/aggregate imports when it is given a path of a file must not be asked for by anything else.
  const args = [
    "build",
    "--target=browser",
    "--format=iife",
    "--external=*/format/file.ts",
    entry,
    `--outfile=${output}`,
  ];
  const { status, stdout, stderr } = spawnSync(runtimes.bun, args, { encoding: "utf8" });
  assertEquals(status, 0, stdout + stderr);
  const script = readFileSync(output, "utf8");
  const imports = [...script.matchAll(/\bimport\s*\(\s*("[^"]*")/g)].map((match) => match[1]!);
  assert(imports.every((name) => name.endsWith('/format/file.ts"')), imports.join());
  assertNotMatch(script, /^\s*import\b(?!\s*\()|\b(?:require|import)\s*\(\s*"(?:node|bun):/m);
  return script;
}

/** What the page says in the end; null where there is no Chromium. */
function runInChromium(folder: string, script: string): string | null {
  const page = join(folder, "page.html");
  const escaped = script.replaceAll("</script", "<\\/script");
  writeFileSync(page, `<!doctype html><meta charset="utf-8"><body><script>${escaped}</script>`);
  // The time budget is that of the page's own clock: it ends when nothing is left to do.
  const args = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    `--user-data-dir=${folder}`,
    "--virtual-time-budget=600000",
  ];
  const { error, status, stdout, stderr } = spawnSync("chromium", [...args, "--dump-dom", `file://${page}`], {
    encoding: "utf8",
    env: { ...process.env, HOME: folder },
    maxBuffer: 2 ** 28,
    timeout: timeout / 2,
  });
  if ((error as { code?: string } | undefined)?.code === "ENOENT") return null;
  assertEquals(status, 0, stderr);
  return /<body>([^<]*)<\/body>/.exec(stdout)?.[1]?.trim() ?? `no text in the page: ${stdout.slice(-500)}`;
}

async function runInBareContext(script: string): Promise<string> {
  const web = {
    ReadableStream,
    WritableStream,
    TransformStream,
    TextEncoder,
    TextDecoder,
    URL,
    URLSearchParams,
    setTimeout,
    clearTimeout,
  };
  const text = await new Promise<string>((resolve) => {
    const body = {
      set textContent(text: string) {
        resolve(text);
      },
    };
    runInContext(script, createContext({ ...web, document: { body } }));
  });
  return text;
}
