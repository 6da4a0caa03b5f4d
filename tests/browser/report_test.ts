/** The page of `report`, used in headless Chromium as a person would. Pictures of it are left in .build/screenshots/. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { dumpSnapshot } from "../../lib/format/file.ts";
import { cli, root } from "../cli/runtimes.ts";
import { columnsOf } from "../format/snapshots.ts";
import { largeSnapshot } from "../report/large.ts";
import { Chromium } from "./chromium.ts";

const timeout = 600_000;
const screenshots = `${root}.build/screenshots/`;

/** Runs a test with a browser and a folder; without a browser it is skipped. */
function inBrowser(name: string, use: (browser: Chromium, folder: string) => Promise<void>): void {
  test(name, { timeout }, async (context) => {
    const browser = await Chromium.start();
    if (browser === null) return context.skip("there is no Chromium");
    const folder = mkdtempSync(join(tmpdir(), "tracemalloc-page-"));
    mkdirSync(screenshots, { recursive: true });
    try {
      await browser.resize(1400, 1300);
      await use(browser, folder);
      assertEquals(browser.problems, []);
    } finally {
      await browser.end();
      rmSync(folder, { recursive: true });
    }
  });
}

function makeReport(folder: string, ...args: readonly string[]): string {
  const page = join(folder, "report.html");
  const { code, stdout, stderr } = cli("report", ...args, "-o", page);
  assertEquals([code, stdout, stderr], [0, `The report is in ${page}: open it in a browser.\n`, ""]);
  return `file://${page}`;
}

const row = { domain: 0, total: null };
const library = "/srv/app/node_modules/pool/index.js";

/** A program's snapshots; its source is in a folder. */
function writeSnapshots(folder: string): { older: string; newer: string; source: string } {
  const source = join(folder, "server.ts");
  writeFileSync(
    source,
    `import { Pool } from "pool";
const pool = new Pool(20);
function cache(key: string) {
  entries.set(key, new Uint8Array(1_999_993));
}
function handle(request: Request) {
  if (request.cached) cache(request.url);
  return pool.render(request);
}
serve(handle);
`,
  );
  const [older, newer] = [join(folder, "before"), join(folder, "after")];
  const cached = [[source, 10], [source, 7], [source, 4]] as const;
  const rendered = [[source, 10], [source, 8], [library, 31], [library, 57]] as const;
  dumpSnapshot(
    older,
    columnsOf([
      { ...row, size: 1_999_993, count: 2, frames: cached },
      { ...row, size: 65_536, count: 60, frames: rendered },
      { ...row, size: 1200, count: 400, domain: 1, frames: [[source, 2], [library, 12]] },
    ], 25),
    { runtime: "deno", runtimeVersion: "2.9.6", createdAt: 1700000000000, pid: 4711 },
  );
  dumpSnapshot(
    newer,
    columnsOf([
      { ...row, size: 1_999_993, count: 7, frames: cached },
      { ...row, size: 65_536, count: 20, frames: rendered },
      { ...row, size: 1200, count: 400, domain: 1, frames: [[source, 2], [library, 12]] },
      { ...row, size: 4096, count: 30, frames: [["<native V8 DefaultWorke>", 0]] },
    ], 25),
    { runtime: "deno", runtimeVersion: "2.9.6", createdAt: 1700000060000, pid: 4711 },
  );
  return { older, newer, source };
}

/** Labels and widths of what the flame graph shows. */
const frames = `[...document.querySelectorAll("g.frame")].map((frame) => frame.getAttribute("aria-label"))`;
const widthOf = (label: string) =>
  `[...document.querySelectorAll("g.frame")].find((frame) => frame.getAttribute("aria-label").includes(${
    JSON.stringify(label)
  })).getBoundingClientRect().width`;
const rows =
  `[...document.querySelectorAll(".listing tbody tr:not(.details)")].map((row) => [...row.cells].map((cell) => cell.innerText.trim()))`;
const click = (browser: Chromium, label: string) =>
  browser.evaluate(`[...document.querySelectorAll("g.frame")].find((frame) =>
    frame.getAttribute("aria-label").includes(${JSON.stringify(label)})).dataset.node`).then((node) =>
    browser.click(`[data-node="${node}"]`)
  );
const choose = (browser: Chromium, title: string, value: string) =>
  browser.click(`input[name="choice-${title}"][value="${value}"]`);

inBrowser("a report: drawn, zoomed, searched, sorted, filtered", async (browser, folder) => {
  const { newer, source } = writeSnapshots(folder);
  await browser.open(makeReport(folder, newer, "--sources", "all"));
  const total = 7 * 1_999_993 + 20 * 65_536 + 400 * 1200 + 30 * 4096;
  assertStringIncludes(
    await browser.evaluate(`document.querySelector("header").innerText`),
    `${total.toLocaleString("en-US")} bytes`,
  );
  assertEquals((await browser.evaluate<string[]>(frames)).length, 10);
  const whole = await browser.evaluate<number>(widthOf("all, "));
  const part = await browser.evaluate<number>(widthOf(`${source}:4, `));
  assert(Math.abs(part / whole - 7 * 1_999_993 / total) < 0.01);

  // Zoom by the mouse: the frame is as wide as the graph, those beside it are gone, those above lead back.
  await click(browser, `${source}:8, `);
  assertEquals(await browser.evaluate(widthOf(`${source}:8, `)), whole);
  assertEquals((await browser.evaluate<string[]>(frames)).length, 5);
  assertEquals(
    await browser.evaluate(`document.querySelector("#path").innerText.replace(/\\s/g, "")`),
    "allserver.ts:10server.ts:8",
  );
  await browser.screenshot(`${screenshots}zoomed.png`);
  await browser.click("#path button");
  assertEquals((await browser.evaluate<string[]>(frames)).length, 10);

  // What is pointed at is explained, with its source.
  await click(browser, `${source}:4, `);
  const selected = await browser.evaluate<string>(`document.querySelector("#selected").innerText`);
  assertStringIncludes(selected, `${source}:4\n13.4 MiB, 88.0 % of all`);
  assertStringIncludes(selected, "entries.set(key, new Uint8Array(1_999_993));");
  await browser.click("#path button");

  // By keys: the focus goes up the flame, Enter zooms, Escape leads out again.
  await browser.evaluate(`document.querySelector('g.frame[tabindex="0"]').focus()`);
  await browser.press("Home");
  const focused = `document.activeElement.getAttribute("aria-label")`;
  assertMatch(await browser.evaluate(focused), /^all, 15\.2 MiB, 100\.0 % of all$/);
  for (const key of ["ArrowUp", "ArrowUp", "ArrowRight"]) await browser.press(key);
  assertStringIncludes(await browser.evaluate(focused), `${source}:8, 1280 KiB`);
  await browser.press("Enter");
  assertEquals(await browser.evaluate(widthOf(`${source}:8, `)), whole);
  assertStringIncludes(await browser.evaluate(focused), `${source}:8, `);
  await browser.press("Escape");
  await browser.press("Escape");
  assertEquals((await browser.evaluate<string[]>(frames)).length, 10);

  // In an icicle the oldest frame is above.
  const above = `document.querySelector('[data-node="0"]').getBoundingClientRect().y`;
  const asFlame = await browser.evaluate<number>(above);
  await choose(browser, "Layout", "icicle");
  assert(await browser.evaluate<number>(above) < asFlame);
  await choose(browser, "Layout", "flame");

  // Search: three lines of the library, and what is below them.
  await browser.click("#search");
  await browser.type("POOL/");
  await browser.until(`document.querySelectorAll("g.found").length === 3`);
  assertEquals(await browser.evaluate(`document.querySelector("#found").value`), "3 lines: 1749 KiB, 11.3 %");
  await browser.screenshot(`${screenshots}search.png`);

  // Blocks instead of bytes, without a domain.
  await choose(browser, "Width", "count");
  await browser.click(".domains label:nth-of-type(2) input");
  assertMatch((await browser.evaluate<string[]>(frames))[0]!, /^all, 57 blocks, 100\.0 % of all$/);
  assertEquals((await browser.evaluate<string[][]>(rows)).length, 3);
  await browser.click(".domains label:nth-of-type(2) input");
  await choose(browser, "Colour", "domain");
  await choose(browser, "Width", "size");

  // The table: sorted by size at first, by blocks after a click, the other way round after another.
  const places = async () => (await browser.evaluate<string[][]>(rows)).map((cells) => cells.at(-1)!.split("\n")[0]);
  assertEquals(await places(), [`${source}:4`, `${library}:57`, `${library}:12`, "<native V8 DefaultWorke>"]);
  await browser.click(`[data-column="Blocks"]`);
  assertEquals((await places())[0], `${library}:12`);
  assertEquals(
    await browser.evaluate(`document.querySelector('[data-column="Blocks"]').parentElement.ariaSort`),
    "descending",
  );
  await browser.click(`[data-column="Blocks"]`);
  assertEquals((await places())[0], `${source}:4`);
  await browser.click(".listing tbody button");
  assertStringIncludes(await browser.evaluate(`document.querySelector(".details .meant").innerText`), "entries.set(");
  await browser.click("#filter");
  await browser.type("node_modules");
  await browser.until(`${rows}.length === 2`);
  await browser.click("#cumulative");
  await browser.until(`${rows}.length === 3`);
  await choose(browser, "By", "traceback");
  assertEquals((await browser.evaluate<string[][]>(rows)).length, 2);
  await browser.click(".listing tbody button");
  assertEquals(
    await browser.evaluate(`[...document.querySelectorAll(".frames li span")].map((frame) => frame.innerText)`),
    [`${source}:10`, `${source}:8`, `${library}:31`, `${library}:57`],
  );
  await choose(browser, "By", "filename");
  assertEquals(await places(), [library]);

  await browser.prefer("dark");
  await browser.screenshot(`${screenshots}dark.png`);
  await browser.resize(420, 900);
  await browser.until(`document.querySelector("svg").clientWidth < 420`);
  assertEquals(await browser.evaluate(`document.documentElement.scrollWidth <= 420`), true);
  await browser.screenshot(`${screenshots}narrow.png`);
});

inBrowser("a report of two snapshots shows what grew and what shrank", async (browser, folder) => {
  const { newer, older, source } = writeSnapshots(folder);
  await browser.open(makeReport(folder, newer, older, "--sources", "all"));
  const text = await browser.evaluate<string>(`document.querySelector("header").innerText`);
  assertStringIncludes(text, "before → after");
  const change = 5 * 1_999_993 - 40 * 65_536 + 30 * 4096;
  assertStringIncludes(text, `+${Math.round(change / 1024)} KiB`);
  const of = async (label: string) =>
    (await browser.evaluate<string[]>(frames)).find((text) => text.includes(label)) ?? "none";
  assertStringIncludes(await of(`${source}:4, `), "9766 KiB changed, 78.5 % of all, +9766 KiB in sum");
  assertStringIncludes(await of(`${library}:57, `), "2560 KiB changed, 20.6 % of all, -2560 KiB in sum");
  // What has not changed has no width.
  assertEquals(await of(`${library}:12, `), "none");
  const colour = (label: string) =>
    browser.evaluate<string>(`getComputedStyle([...document.querySelectorAll("g.frame")].find((frame) =>
      frame.getAttribute("aria-label").includes(${JSON.stringify(label)})).firstElementChild).fill`);
  const [red, blue] = await browser.evaluate<string[]>(`["grown", "shrunk"].map((name) =>
    getComputedStyle(document.querySelector(".swatch." + name)).backgroundColor)`);
  const channels = (colour: string) => colour.match(/-?[\d.]+/g)!.map(Number);
  const [grown, shrunk] = [await colour(`${source}:4, `), await colour(`${library}:57, `)].map(channels);
  // Mixed in another notation: compare which channel is the strongest.
  assert(grown![1]! > 0 && shrunk![2]! < 0, `${grown} ${shrunk} as oklab: red has a positive a, blue a negative b`);
  assert(channels(red!)[0]! > channels(red!)[2]! && channels(blue!)[2]! > channels(blue!)[0]!);
  const shown = await browser.evaluate<string[][]>(rows);
  assertEquals(shown[0]!.slice(0, 4), ["+9766 KiB", "13.4 MiB", "+5", "7"]);
  assertEquals(shown[1]!.slice(0, 4), ["-2560 KiB", "1280 KiB", "-40", "20"]);
  await browser.screenshot(`${screenshots}difference.png`);
  await choose(browser, "Show", "older");
  assertStringIncludes(await of(`${library}:57, `), "3840 KiB, ");
  await choose(browser, "Show", "newer");
  assertStringIncludes(await of(`${library}:12, `), "469 KiB, ");
  await browser.screenshot(`${screenshots}newer.png`);
});

inBrowser("names of files cannot do anything in a page", async (browser, folder) => {
  const names = [
    `</script><script>globalThis.done = 1</script>`,
    `<img src=x onerror="globalThis.done = 2">`,
    `" onmouseover="globalThis.done = 3" x="`,
    `javascript:globalThis.done=4`,
    "\u2028\ud800<!--",
  ];
  const path = join(folder, names[1]!.replace(/[^a-z]/g, ""));
  dumpSnapshot(path, columnsOf(names.map((name) => ({ ...row, size: 100, count: 1, frames: [[name, 1]] })), 1), {
    runtime: names[0]!,
    engine: names[1]!,
  });
  await browser.open(makeReport(folder, path));
  for (const label of names.slice(0, 4)) {
    await click(browser, label);
    await browser.click("#path button");
  }
  await browser.click(".listing tbody button");
  assertEquals(await browser.evaluate("[globalThis.done, document.images.length, document.scripts.length]"), [
    null,
    0,
    0,
  ]);
  const labels = await browser.evaluate<string[]>(
    `[...document.querySelectorAll(".place > button")].map((place) => place.innerText)`,
  );
  for (const name of names.slice(0, 4)) assert(labels.includes(`${name}:1`), `${labels}`);
});

inBrowser("50,000 tracebacks", async (browser, folder) => {
  const path = join(folder, "large");
  dumpSnapshot(path, largeSnapshot(50_000), {});
  const url = makeReport(folder, path);
  const started = performance.now();
  await browser.open(url);
  await browser.until(`document.querySelectorAll("g.frame").length > 0`);
  console.log(`report: 50,000 tracebacks are shown in ${Math.round(performance.now() - started)} ms`);
  assertStringIncludes(await browser.evaluate(`document.querySelector("header").innerText`), "Tracebacks\n50,000");
  await choose(browser, "By", "traceback");
  assertEquals((await browser.evaluate<string[][]>(rows)).length, 100);
  await browser.click(".more");
  assertEquals((await browser.evaluate<string[][]>(rows)).length, 600);
  await browser.screenshot(`${screenshots}large.png`);
  for (let depth = 0; depth < 6; depth++) {
    await browser.evaluate(`document.querySelector('g.frame[tabindex="0"]').focus()`);
    await browser.press("ArrowUp");
    await browser.press("Enter");
  }
  assertEquals(await browser.evaluate(`document.querySelectorAll("g.above").length`), 6);
});
