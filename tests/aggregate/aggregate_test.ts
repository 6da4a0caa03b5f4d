import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { aggregate } from "../../lib/aggregate/aggregate.ts";
import { compareFiles } from "../../lib/aggregate/compare_files.ts";
import { mergeFiles, mergeWatched } from "../../lib/aggregate/merge_files.ts";
import { TracebackSums } from "../../lib/aggregate/traceback_sums.ts";
import { summarize } from "../../lib/aggregate/summarize.ts";
import { readSnapshot } from "../../lib/format/reader.ts";
import { snapshotBytes } from "../../lib/format/writer.ts";
import type { SnapshotColumns } from "../../lib/model/columns.ts";
import { DomainFilter } from "../../lib/model/domain_filter.ts";
import { SnapshotFormatError, TracemallocError } from "../../lib/model/errors.ts";
import { Filter } from "../../lib/model/filter.ts";
import { Dictionary } from "../../lib/model/dictionary.ts";
import { Frame } from "../../lib/model/frame.ts";
import { Grouping, type GroupingOptions } from "../../lib/model/group.ts";
import type { KeyType } from "../../lib/model/key_type.ts";
import { type Snapshot, snapshotData } from "../../lib/model/snapshot.ts";
import { filters as anyFilters, weighted } from "../laws/arbitraries.ts";
import { fileOf, recordsOf } from "../format/records.ts";
import { anyColumns, columnsOf, meaning, type PlainTrace } from "../format/snapshots.ts";

const groupings: readonly [KeyType, boolean][] = [
  ["filename", false],
  ["lineno", false],
  ["traceback", false],
  ["filename", true],
  ["lineno", true],
];
const filters = [new Filter(true, "*b*"), new DomainFilter(false, 2)];

function grouped(columns: SnapshotColumns, keyType: KeyType, options: GroupingOptions): Grouping {
  const grouping = new Grouping(keyType, options);
  grouping.addColumns(columns);
  return grouping;
}

/** The bytes in pieces of a few hundred. */
function* stream(bytes: Uint8Array): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 333) yield bytes.subarray(at, at + 333);
}

test("aggregate gives the statistics of the loaded snapshot", async () => {
  await fc.assert(
    fc.asyncProperty(anyColumns, async (columns) => {
      const bytes = snapshotBytes(columns, {});
      const loaded = readSnapshot(bytes).columns;
      for (const [keyType, cumulative] of groupings) {
        for (const options of [{ cumulative }, { cumulative, filters }]) {
          const statistics = await aggregate(stream(bytes), { keyType, ...options });
          assertEquals(statistics.map(String), grouped(loaded, keyType, options).statistics().map(String));
        }
      }
    }),
    { numRuns: 40 },
  );
});

test("sums by traceback and domain add up to the statistics", () => {
  fc.assert(
    fc.property(weighted, weighted, anyFilters, (newer, older, filters) => {
      const before = new TracebackSums(filters);
      before.addColumns(snapshotData(older.rows).columns);
      const sums = new TracebackSums(filters, before);
      sums.addColumns(snapshotData(newer.rows).columns);
      const table = sums.table();
      const byLine = new Map<string, number[]>();
      table.node.forEach((node, row) => {
        const frame = table.nodeFrame[node]!;
        const key = `${new Frame(table.filenames[table.frameFilename[frame]!]!, table.frameLineno[frame]!)}`;
        const [a, b, c, d] = byLine.get(key) ?? [0, 0, 0, 0];
        const { size, count } = table.older!;
        byLine.set(key, [a! + table.size[row]!, b! + table.count[row]!, c! + size[row]!, d! + count[row]!]);
      });
      const [now, then] = [newer, older].map(({ rows }) => rows.filterTraces(filters)) as [Snapshot, Snapshot];
      const expected = now.compareTo(then, "lineno").map(({ traceback, size, sizeDiff, count, countDiff }) =>
        [`${traceback}`, [size, count, size - sizeDiff, count - countDiff]] as [string, number[]]
      );
      assertEquals(new Map([...byLine].sort()), new Map([...expected].sort()));
    }),
  );
});

test("compareFiles gives the differences of the loaded snapshots", async () => {
  await fc.assert(
    fc.asyncProperty(anyColumns, anyColumns, async (a, b) => {
      const [older, newer] = [snapshotBytes(a, {}), snapshotBytes(b, {})];
      for (const [keyType, cumulative] of groupings) {
        const shared = { cumulative, dictionary: new Dictionary() };
        const expected = grouped(readSnapshot(newer).columns, keyType, shared)
          .compareTo(grouped(readSnapshot(older).columns, keyType, shared));
        const options = { keyType, cumulative, filters: [].values() };
        const differences = await compareFiles(stream(newer), stream(older), options);
        assertEquals(differences.map(String), expected.map(String));
      }
    }),
    { numRuns: 20 },
  );
});

test("filters that can be iterated over once only count for both files", async () => {
  const trace = { size: 10, count: 1, frames: [["a.ts", 1]] as const, total: 1 };
  const bytes = snapshotBytes(columnsOf([{ ...trace, domain: 0 }, { ...trace, domain: 1 }]), {});
  const once = [new DomainFilter(true, 1)].values();
  const [difference] = await compareFiles([bytes], [bytes], { keyType: "lineno", filters: once });
  assertEquals([difference?.size, difference?.sizeDiff], [10, 0]);
});

/** Merges into memory. */
async function merged(...files: readonly Uint8Array[]): Promise<ReturnType<typeof readSnapshot>> {
  const chunks: Uint8Array[] = [];
  const target = new WritableStream<Uint8Array>({ write: (chunk) => void chunks.push(chunk) });
  await mergeFiles(files.map(stream), target);
  return readSnapshot(new Uint8Array(chunks.flatMap((chunk) => [...chunk])));
}

test("a merged snapshot says what all of them say", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(anyColumns, { minLength: 1, maxLength: 4 }), async (snapshots) => {
      const { columns } = await merged(...snapshots.map((columns) => snapshotBytes(columns, {})));
      assertEquals(meaning(columns), meaning(concatenated(snapshots)));
    }),
    { numRuns: 40 },
  );
});

/** The rows of several snapshots in one, nothing shared. */
function concatenated(snapshots: readonly SnapshotColumns[]): SnapshotColumns {
  const traces: PlainTrace[] = [];
  for (const columns of snapshots) {
    for (let i = 0; i < columns.traceSize.length; i++) {
      const traceback = columns.traceTraceback[i]!;
      const frames: [string, number][] = [];
      for (let node = columns.tracebackNode[traceback]!; node !== 0; node = columns.nodeParent[node]!) {
        const frame = columns.nodeFrame[node]!;
        frames.unshift([columns.filenames[columns.frameFilename[frame]!]!, columns.frameLineno[frame]!]);
      }
      const total = columns.tracebackTotal[traceback]!;
      traces.push({
        domain: columns.traceDomain[i]!,
        size: columns.traceSize[i]!,
        count: columns.traceCount[i]!,
        frames,
        total: total === 0 ? null : total - 1,
      });
    }
  }
  return columnsOf(traces, Math.max(...snapshots.map(({ tracebackLimit }) => tracebackLimit)));
}

test("metadata are merged where they agree, attribution is added up", async () => {
  const a = { runtime: "deno", engine: "V8 1", pid: 1, createdAt: 10, calibration: new Map([["a", "1"], ["b", "2"]]) };
  const b = { runtime: "deno", engine: "V8 2", pid: 2, createdAt: 20, calibration: new Map([["a", "1"], ["b", "3"]]) };
  const columns = columnsOf([], 3);
  const { metadata } = await merged(
    snapshotBytes(columns, { ...a, attribution: [{ reason: "x", blocks: 1, bytes: 10 }] }),
    snapshotBytes(columns, {
      ...b,
      attribution: [{ reason: "y", blocks: 2, bytes: 5 }, { reason: "x", blocks: 3, bytes: 1 }],
    }),
  );
  assertEquals(metadata, {
    runtime: "deno",
    createdAt: 20,
    calibration: new Map([["a", "1"]]),
    attribution: [{ reason: "x", blocks: 4, bytes: 11 }, { reason: "y", blocks: 2, bytes: 5 }],
  });
});

test("more rows than are held at once are merged, folded where they are alike", async () => {
  const rows = (distinct: number) =>
    snapshotBytes(
      columnsOf(Array.from({ length: 150_000 }, (_, i) => ({
        domain: 0,
        size: i % distinct,
        count: 1,
        frames: [["a.ts", i % 3]] as const,
        total: 1,
      }))),
      {},
    );
  const alike = await merged(rows(600), rows(600), rows(600));
  assertEquals([alike.totals.rows, alike.totals.blocks], [600, 450_000]);
  const different = await merged(rows(150_000), rows(149_999), rows(150_000));
  assertEquals(different.totals.blocks, 450_000);
  assert(different.totals.rows < 450_000);
});

test("what is whole of cut files is merged when asked for, and said", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-merge-"));
  try {
    const trace = { domain: 0, size: 8, count: 3, frames: [["a.ts", 1], ["a.ts", 2]] as const, total: 2 };
    // Its metadata stand at the end, where they are lost.
    const messages = recordsOf(snapshotBytes(columnsOf([trace], 9), {})).map(({ message }) => message);
    const late = fileOf([messages[0]!, ...messages.slice(2, -1), messages[1]!, messages.at(-1)!]);
    const { offset } = recordsOf(late).at(-2)!;
    writeFileSync(join(folder, "cut"), late.subarray(0, offset));
    const damaged: unknown[] = [];
    await mergeWatched([join(folder, "cut"), join(folder, "cut")], join(folder, "out"), {
      partial: true,
      damaged: (source, damage) => damaged.push([source, damage.offset]),
    });
    assertEquals(damaged, [[join(folder, "cut"), offset], [join(folder, "cut"), offset]]);
    const { columns } = readSnapshot(readFileSync(join(folder, "out")));
    assertEquals(meaning(columns), meaning(columnsOf([{ ...trace, count: 6 }], 2)));
    assertEquals(columns.tracebackLimit, 2);
    await assertRejects(() => mergeWatched([join(folder, "cut")], join(folder, "none")), SnapshotFormatError, "cut");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a merge that fails leaves the target as it was", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-"));
  try {
    const [good, bad, out] = ["good", "bad", "out"].map((name) => join(folder, name)) as [string, string, string];
    const bytes = snapshotBytes(columnsOf([{ domain: 0, size: 5, count: 1, frames: [], total: null }]), {});
    writeFileSync(good, bytes);
    writeFileSync(bad, bytes.subarray(0, bytes.length - 20));
    writeFileSync(out, "old");
    await assertRejects(() => mergeFiles([good, bad], out), SnapshotFormatError, bad);
    await assertRejects(() => mergeFiles([good, join(folder, "none")], out), TracemallocError, "no such file");
    assertEquals(readFileSync(out, "utf8"), "old");
    await mergeFiles([good, good], good);
    assertEquals(readSnapshot(new Uint8Array(readFileSync(good))).totals.blocks, 2);
    assertEquals(readdirSync(folder).sort(), ["bad", "good", "out"]);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("a summary counts blocks and bytes by domain", async () => {
  const trace = { frames: [["a.ts", 1]] as const, total: 1, count: 2 };
  const columns = columnsOf([{ ...trace, domain: 16, size: 5 }, { ...trace, domain: 0, size: 7 }], 4);
  const summary = await summarize([snapshotBytes(columns, { pid: 5 })]);
  assertEquals([...summary.domains], [[0, { blocks: 2, bytes: 14 }], [16, { blocks: 2, bytes: 10 }]]);
  assertEquals([summary.tracebackLimit, summary.metadata.pid, summary.totals.bytes], [4, 5, 24]);
});
