/** A heap profile that is exported opens in Chrome's DevTools, which show what statistics show. */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Filter, Snapshot } from "@x/tracemalloc";
import { heapprofile } from "../../lib/export/heapprofile.ts";
import { bytesOf, sourceOf } from "../export/sources.ts";
import { deno } from "../tracer/deno.ts";
import { Chromium } from "./chromium.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Some lines have less than 1 kB, which DevTools show to the byte. */
const program = `const kept: unknown[] = [];
function few() {
  kept.push({ a: 1, b: 2, c: 3 });
  kept.push(() => kept);
}
function keep(many: number) {
  for (let i = 0; i < many; i++) kept.push([i, new Map([[i, many]])]);
  few();
}
keep(10);
keep(5000);
`;

/** Elements of the page and of what they have inside, by a condition on `e`. */
const elements = (condition: string) =>
  `(() => {
  const all = (root) => [...root.querySelectorAll("*")].flatMap((e) => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]);
  return all(document).filter((e) => ${condition});
})()`;

const table = `${elements(`e.matches("tr")`)}.map((row) => [...row.cells].map((cell) => cell.innerText.trim()))
  .filter((cells) => /^\\d/.test(cells[0]))`;

/** The least and the most that a size can be, by its text: `1.5 kB`. */
function rangeOf(text: string): [number, number] {
  const [, digits, unit] = /^([\d.]+)\s(B|kB|MB)/.exec(text)!;
  const one = { B: 1, kB: 1000, MB: 1_000_000 }[unit as "B"], places = digits!.split(".")[1]?.length ?? 0;
  const half = unit === "B" ? 0 : one / 10 ** places / 2;
  return [Number(digits) * one - half, Number(digits) * one + half];
}

test("DevTools show of a heap profile what statistics show", { timeout: 600_000 }, async (context) => {
  const browser = await Chromium.start();
  if (browser === null) return context.skip("there is no Chromium");
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-devtools-"));
  try {
    const [script, path, profile] = ["program.ts", "a.snapshot", "shown.heapprofile"].map((name) => join(folder, name));
    writeFileSync(script!, program);
    const args = ["run", "--domains", "js-heap", "--js-interval", "1", "-n", "25", "-o", path!, script!];
    const { status, stderr } = spawnSync(deno, ["run", "-A", `${root}cli.ts`, ...args], { encoding: "utf8" });
    assertEquals(status, 0, stderr);
    const snapshot = Snapshot.load(path!).filterTraces([new Filter(true, script!)]);
    writeFileSync(profile!, await bytesOf(heapprofile, sourceOf(snapshot)));

    await browser.openDevTools("heap-profiler");
    const input = elements(`e.matches(".heap-profiler input[type=file]")`);
    await browser.until(`${input}.length === 1`);
    await browser.choose(profile!, `${input}[0]`);
    const loaded = elements(`e.matches("[role=treeitem]") && e.innerText.includes("shown")`);
    await browser.until(`${loaded}.length === 1`);
    await browser.clickOn(`${loaded}[0]`);
    await browser.until(`${table}.length > 0`);
    const shown = await browser.evaluate<string[][]>(table);

    const own = new Map(snapshot.statistics("lineno").map(({ traceback, size }) => [String(traceback), size]));
    const expected = snapshot.statistics("lineno", true);
    assert(expected.length >= 5, `${expected}`);
    assertEquals(
      shown.map(([, , label]) => label!.split("\n")[0]!.trim()).sort(),
      expected.map(({ traceback }) => `program.ts:${traceback.at(0)!.lineno}`).sort(),
    );
    for (const { traceback, size } of expected) {
      const [self, total] = shown.find(([, , label]) => label!.startsWith(`program.ts:${traceback.at(0)!.lineno}\n`))!;
      for (const [text, bytes] of [[self!, own.get(String(traceback)) ?? 0], [total!, size]] as const) {
        const [least, most] = rangeOf(text);
        assert(bytes >= least && bytes <= most, `${traceback}: ${bytes} bytes are shown as ${text}`);
      }
    }
  } finally {
    await browser.end();
    rmSync(folder, { recursive: true });
  }
});
