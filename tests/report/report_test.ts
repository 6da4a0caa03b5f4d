import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { TracebackSums } from "../../lib/aggregate/traceback_sums.ts";
import { reportSources } from "../../lib/host/report_sources.ts";
import { type Snapshot, snapshotData, snapshotFromColumns } from "../../lib/model/snapshot.ts";
import { unknownFrame } from "../../lib/model/traceback.ts";
import { packageOf } from "../../lib/report/package_of.ts";
import { type Key, Model } from "../../lib/report/page/model.ts";
import type { PageData } from "../../lib/report/page_data.ts";
import { reportHtml } from "../../lib/report/report.ts";
import { bundle, generated } from "../../tools/build_report.mjs";
import { columnsOf } from "../format/snapshots.ts";
import { weighted } from "../laws/arbitraries.ts";

const folder = mkdtempSync(join(tmpdir(), "tracemalloc-report-"));
after(() => rmSync(folder, { recursive: true }));

/** The page of a snapshot, or of one beside an older one. */
function pageOf(
  newer: Snapshot,
  older: Snapshot | null,
  linesOf: (name: string) => string[] | undefined = () => undefined,
) {
  const olderSums = older && new TracebackSums();
  if (older !== null) olderSums!.addColumns(snapshotData(older).columns);
  const sums = new TracebackSums([], olderSums);
  sums.addColumns(snapshotData(newer).columns);
  const about = (name: string) => ({ name, metadata: {}, tracebackLimit: 4 });
  const source = { table: sums.table(), newer: about("newer"), older: older && about("older"), linesOf };
  return [...reportHtml(source)].join("");
}

/** What a page holds. */
function dataOf(html: string): PageData {
  return JSON.parse(/<script type="application\/json" id="data">([^<]*)<\/script>/.exec(html)![1]!);
}

test("the page adds up what statistics add up", () => {
  fc.assert(
    fc.property(weighted, weighted, fc.subarray([0, 1, 16, 2 ** 32 - 1]), (newer, older, domains) => {
      const model = new Model(dataOf(pageOf(newer.rows, older.rows)));
      const wanted = new Set(domains);
      const [now, then] = [newer.expanded, older.expanded].map((traces) =>
        new (newer.rows.constructor as typeof Snapshot)(traces.filter(({ domain }) => wanted.has(domain)), 4)
      ) as [Snapshot, Snapshot];
      for (
        const [key, cumulative] of [["lineno", false], ["filename", false], ["traceback", false], ["lineno", true], [
          "filename",
          true,
        ]] as [Key, boolean][]
      ) {
        const place = (number: number) => {
          if (key === "filename") return `${model.data.filenames[number]}:0`;
          const frames = key === "lineno" ? [number] : model.pathOf(number).map((node) => model.data.nodeFrame[node]!);
          return frames.map((frame) =>
            `${model.data.filenames[model.data.frameFilename[frame]!]}:${model.data.frameLineno[frame]}`
          ).join();
        };
        const shown = model.groups(key, cumulative, wanted).map(({ key, size, count, olderSize, olderCount }) =>
          [place(key), [size, count, olderSize, olderCount]] as [string, number[]]
        );
        const expected = new Map<string, number[]>();
        for (const { traceback, size, sizeDiff, count, countDiff } of now.compareTo(then, key, cumulative)) {
          // The empty traceback and that of the unknown frame are one here.
          const name = (traceback.length === 0 ? [unknownFrame] : [...traceback]).join();
          const before = expected.get(name) ?? [0, 0, 0, 0];
          const values = [size, count, size - sizeDiff, count - countDiff];
          expected.set(name, values.map((value, i) => value + before[i]!));
        }
        assertEquals(new Map(shown), expected);
      }
      const { total, change, self } = model.weigh("change", "size", wanted);
      const sum = (snapshot: Snapshot) => [...snapshot.traces].reduce((sum, { size }) => sum + size, 0);
      assertEquals(change[0], sum(now) - sum(then));
      assert(total[0]! >= Math.abs(change[0]!));
      assertEquals(self.reduce((a, b) => a + b, 0), total[0]);
      assertEquals(model.weigh("newer", "size", wanted).total[0], sum(now));
      assertEquals(model.weigh("older", "count", wanted).total[0], then.traces.length);
    }),
    { numRuns: 60 },
  );
});

test("a search finds frames and what is below them", () => {
  const row = { domain: 0, size: 1, count: 1, total: null };
  const snapshot = snapshotFromColumns(columnsOf([
    { ...row, frames: [["Main.ts", 1], ["cache.ts", 2], ["main.ts", 3]] },
    { ...row, frames: [["other.ts", 1]] },
  ]));
  const model = new Model(dataOf(pageOf(snapshot, null)));
  const frames = model.framesWith("MAIN.ts:");
  assertEquals(model.labels.filter((_, frame) => frames[frame] === 1).sort(), ["Main.ts:1", "main.ts:3"]);
  assertEquals(model.nodesWith(frames).reduce((a, b) => a + b, 0), 3);
});

test("packages", () => {
  for (
    const [filename, expected] of [
      ["/srv/app/src/main.ts", "the program"],
      ["main.ts", "the program"],
      ["C:\\app\\main.ts", "the program"],
      ["", "the program"],
      ["/srv/node_modules/.deno/chalk@5.0.0/node_modules/chalk/source/index.js", "chalk"],
      ["file:///srv/node_modules/@scope/name/index.js", "@scope/name"],
      ["/home/u/.cache/deno/npm/registry.example/@scope/name/1.2.3/index.js", "@scope/name"],
      ["npm:chalk@5", "chalk"],
      ["jsr:@std/path@1/join", "@std/path"],
      ["https://example.org/x.ts", "example.org"],
      ["ext:deno_node/zlib.js", "ext:deno_node"],
      ["node:fs", "node:fs"],
      ["<native deno>", "threads without JavaScript"],
      ["<unknown>", "<unknown>"],
      ["libz.so.1!deflateInit2_", "libz.so.1"],
      ["deno+0x1e9e111", "deno"],
      ["hello!.ts", "hello"],
    ] as const
  ) assertEquals(packageOf(filename), expected, filename);
});

test("the bundle is that of the sources", () => {
  assertEquals(readFileSync(generated, "utf8"), bundle(), "run `node tools/build_report.mjs`");
});

test("nothing of a snapshot can end the element that it is in", () => {
  const hostile = `</script><script>alert(1)</script><!-- "'&`;
  const row = { domain: 0, size: 1, count: 1, total: null };
  const snapshot = snapshotFromColumns(columnsOf([{ ...row, frames: [[hostile, 1]] }]), { runtime: hostile });
  const html = pageOf(snapshot, null, () => [hostile]);
  assertNotMatch(html, /alert\(1\)<\/script>/);
  assertEquals(html.match(/<script/g)!.length, 2);
  const data = dataOf(html);
  assertEquals([data.filenames, data.sources], [[hostile], [{ 1: hostile }]]);
  const [, policy] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(html)!;
  assertMatch(policy!, /^default-src 'none'; .*script-src 'sha256-[^']*'; style-src 'sha256-[^']*'$/);
  assertNotMatch(html.replace(/<script>.*<\/script>/s, ""), /\b(?:src|href)=/);
});

test("the lines around a frame are in the page, shortened where they are long", () => {
  const row = { domain: 0, size: 1, count: 1, total: null };
  const snapshot = snapshotFromColumns(columnsOf([
    { ...row, frames: [["a.ts", 1], ["b.ts", 9]] },
    { ...row, frames: [["a.ts", 6], ["<native x>", 0]] },
  ]));
  const lines = ["one", "two", "three", "four", "five", "x".repeat(1000)];
  const data = dataOf(pageOf(snapshot, null, (name) => name === "a.ts" ? lines : undefined));
  const shown = data.sources[data.filenames.indexOf("a.ts")];
  assertEquals(shown, { 1: "one", 2: "two", 3: "three", 4: "four", 5: "five", 6: `${"x".repeat(240)}…` });
  assertEquals(data.sources.filter((lines) => lines !== null).length, 1);
});

test("source is read of programs, and by default of what is really under the folder", () => {
  const inside = join(folder, "inside"), outside = join(folder, "inside-not");
  for (const path of [inside, outside]) mkdirSync(path);
  writeFileSync(join(inside, "a.ts"), "1\r\n2");
  writeFileSync(join(inside, "secret.env"), "secret");
  writeFileSync(join(outside, "b.ts"), "secret");
  symlinkSync(join(outside, "b.ts"), join(inside, "link.ts"));
  symlinkSync(join(inside, "secret.env"), join(inside, "env.ts"));
  mkdirSync(join(inside, "folder.ts"));
  const cwd = reportSources("cwd", inside), all = reportSources("all", inside), none = reportSources("none", inside);
  const a = join(inside, "a.ts");
  assertEquals([cwd(a), all(a), none(a)], [["1", "2"], ["1", "2"], undefined]);
  assertEquals(cwd(`file://${a}`), ["1", "2"]);
  assertEquals([cwd(join(outside, "b.ts")), all(join(outside, "b.ts"))], [undefined, ["secret"]]);
  assertEquals(cwd(`${inside}/../inside-not/b.ts`), undefined);
  assertEquals(cwd(join(inside, "link.ts")), undefined);
  for (const name of ["secret.env", "env.ts", "folder.ts", "missing.ts"]) {
    assertEquals(all(join(inside, name)), undefined);
  }
  for (const name of ["<native x>", "node:fs", "", "ext:core/01_core.js"]) assertEquals(all(name), undefined);
});

test("an empty snapshot has a page, too", () => {
  assertStringIncludes(pageOf(snapshotFromColumns(columnsOf([])), null), `"node":[]`);
});
