/**
 * The exports, opened by what others have written to open them: speedscope has importers for four of our formats, of
 * its own format, and of those of pprof, FlameGraph and Chrome.
 */
import { assertEquals } from "@std/assert";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { collapsed } from "../../lib/export/collapsed.ts";
import { heapprofile } from "../../lib/export/heapprofile.ts";
import { pprof } from "../../lib/export/pprof.ts";
import { speedscope } from "../../lib/export/speedscope.ts";
import { snapshotFromColumns } from "../../lib/model/snapshot.ts";
import { bytesOf, sourceOf } from "../export/sources.ts";
import { columnsOf } from "../format/snapshots.ts";
import { Chromium } from "./chromium.ts";

// Sums below 1 KiB: speedscope rounds what is more.
const row = { domain: 0, total: null };
const snapshot = snapshotFromColumns(columnsOf([
  { ...row, size: 101, count: 3, frames: [["/srv/main.ts", 3], ["/srv/cache.ts", 2]] },
  { ...row, size: 7, count: 11, frames: [["/srv/main.ts", 3], ["/srv/pool.ts", 9], ["libz.so.1!deflateInit2_", 0]] },
  { ...row, size: 64, count: 2, domain: 1, frames: [["/srv/main.ts", 3], ["/srv/cache.ts", 2]] },
  { ...row, size: 50, count: 1, frames: [["<native worker (1)>", 0]] },
], 25));

const application = createRequire(import.meta.url).resolve("speedscope/package.json").replace(
  /package\.json$/,
  "dist/release/index.html",
);

test("speedscope shows of every format what statistics show", { timeout: 600_000 }, async (context) => {
  const browser = await Chromium.start();
  if (browser === null) return context.skip("there is no Chromium");
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-speedscope-"));
  try {
    const self = new Map(snapshot.statistics("lineno").map(({ traceback, size }) => [String(traceback), size]));
    const expected = snapshot.statistics("lineno", true).map(({ traceback, size }) => {
      const frame = traceback.at(0)!;
      return [frame.lineno === 0 ? frame.filename : `${frame}`, `${size} B`, `${self.get(String(frame)) ?? 0} B`];
    });
    for (
      const [target, file] of [
        [speedscope, "a.speedscope.json"],
        [pprof, "a.pb.gz"],
        [collapsed, "a.collapsed.txt"],
        [heapprofile, "a.heapprofile"],
      ] as const
    ) {
      const bytes = await bytesOf(target, sourceOf(snapshot));
      const base64 = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
      const script = join(folder, `${target.name}.js`);
      // What its command line does.
      writeFileSync(script, `speedscope.loadFileFromBase64(${JSON.stringify(file)}, ${JSON.stringify(base64)})`);
      await browser.open(`file://${application}#localProfilePath=${script}`);
      await browser.until(`document.body.innerText.includes("Sandwich")`);
      // The table of the view that the key opens: total, self, label. Nothing says that keys are listened to by now.
      const table = `[...document.querySelectorAll("tr")]
        .map((row) => [...row.cells].map((cell) => cell.innerText.trim()))
        .filter((cells) => cells.length === 3 && /^\\d/.test(cells[0]) && /^\\d/.test(cells[1]))`;
      for (let tries = 0; tries < 500 && await browser.evaluate(`${table}.length === 0`); tries++) {
        await browser.press("3");
      }
      const shown = await browser.evaluate<string[][]>(table);
      const name = (label: string) =>
        // DevTools show the file beside it.
        target === heapprofile ? label.replace(/^.*\//, "") : label;
      const number = (cell: string) => /^[0-9]+(?: B)?/.exec(cell)![0].replace(/(?<! B)$/, " B");
      assertEquals(
        // DevTools' own head of the tree is shown, too.
        shown.filter(([, , label]) => label !== "(root)").map((
          [total, own, label],
        ) => [label!, number(total!), number(own!)]).sort(),
        expected.map(([label, ...sizes]) => [name(label!), ...sizes]).sort(),
        target.name,
      );
      assertEquals(browser.problems, []);
    }
  } finally {
    await browser.end();
    rmSync(folder, { recursive: true });
  }
});
