import { test } from "node:test";
import { assert, assertEquals, assertFalse, assertRejects, assertThrows } from "@std/assert";
import { DomainFilter, Filter, Frame, Snapshot, Trace, Traceback, UnsupportedError } from "../../mod.ts";
import { currentCodec, useCodec } from "../../lib/model/codec.ts";
import type { SnapshotColumns } from "../../lib/model/columns.ts";
import { Dictionary } from "../../lib/model/dictionary.ts";
import { Grouping } from "../../lib/model/group.ts";
import { RowMatcher } from "../../lib/model/match.ts";
import { snapshotData, snapshotFromColumns } from "../../lib/model/snapshot.ts";
import { snapshot, trace, traceback } from "./make.ts";

// The raw traces that CPython's own tests start from: a.py allocates through b.py, b.py by itself, c.py something else.
const older = snapshot(
  ...Array.from({ length: 3 }, () => trace(10, "b.ts:4", "a.ts:2")),
  trace(2, "b.ts:1", "a.ts:5"),
  trace(66, "b.ts:1"),
  trace(7, "<unknown>:0"),
);
const newer = snapshot(
  ...Array.from({ length: 3 }, () => trace(10, "b.ts:4", "a.ts:2")),
  trace(2, "b.ts:4", "a.ts:5"),
  trace(5000, "b.ts:4", "a.ts:5"),
  trace(400, "c.ts:578"),
);

function texts(values: Iterable<unknown>): string[] {
  return Array.from(values, String);
}

test("statistics by line, file and traceback", () => {
  assertEquals(texts(older.statistics("lineno")), [
    "b.ts:1: size=66 B, count=1, average=66 B",
    "a.ts:2: size=30 B, count=3, average=10 B",
    "<unknown>:0: size=7 B, count=1, average=7 B",
    "a.ts:5: size=2 B, count=1, average=2 B",
  ]);
  assertEquals(texts(older.statistics("filename")), [
    "b.ts:0: size=66 B, count=1, average=66 B",
    "a.ts:0: size=32 B, count=4, average=8 B",
    "<unknown>:0: size=7 B, count=1, average=7 B",
  ]);
  assertEquals(older.statistics("traceback").map(({ traceback, size }) => [texts(traceback), size]), [
    [["b.ts:1"], 66],
    [["b.ts:4", "a.ts:2"], 30],
    [["<unknown>:0"], 7],
    [["b.ts:1", "a.ts:5"], 2],
  ]);
});

test("cumulative statistics", () => {
  assertEquals(texts(older.statistics("filename", true)), [
    "b.ts:0: size=98 B, count=5, average=20 B",
    "a.ts:0: size=32 B, count=4, average=8 B",
    "<unknown>:0: size=7 B, count=1, average=7 B",
  ]);
  assertEquals(texts(older.statistics("lineno", true)), [
    "b.ts:1: size=68 B, count=2, average=34 B",
    "b.ts:4: size=30 B, count=3, average=10 B",
    "a.ts:2: size=30 B, count=3, average=10 B",
    "<unknown>:0: size=7 B, count=1, average=7 B",
    "a.ts:5: size=2 B, count=1, average=2 B",
  ]);
  // A function that calls itself counts as often as it is there, as in CPython.
  assertEquals(texts(snapshot(trace(5, "a:1", "a:1", "a:2")).statistics("filename", true)), [
    "a:0: size=15 B, count=3, average=5 B",
  ]);
});

test("differences", () => {
  assertEquals(texts(newer.compareTo(older, "lineno")), [
    "a.ts:5: size=5002 B (+5000 B), count=2 (+1), average=2501 B",
    "c.ts:578: size=400 B (+400 B), count=1 (+1), average=400 B",
    "b.ts:1: size=0 B (-66 B), count=0 (-1)",
    "<unknown>:0: size=0 B (-7 B), count=0 (-1)",
    "a.ts:2: size=30 B (+0 B), count=3 (+0), average=10 B",
  ]);
  assertEquals(newer.compareTo(older, "traceback").map(({ traceback, sizeDiff }) => [texts(traceback), sizeDiff]), [
    [["b.ts:4", "a.ts:5"], 5002],
    [["c.ts:578"], 400],
    [["b.ts:1"], -66],
    [["<unknown>:0"], -7],
    [["b.ts:1", "a.ts:5"], -2],
    [["b.ts:4", "a.ts:2"], 0],
  ]);
  assertEquals(texts(newer.compareTo(older, "filename", true)), [
    "a.ts:0: size=5032 B (+5000 B), count=5 (+1), average=1006 B",
    "b.ts:0: size=5032 B (+4934 B), count=5 (+0), average=1006 B",
    "c.ts:0: size=400 B (+400 B), count=1 (+1), average=400 B",
    "<unknown>:0: size=0 B (-7 B), count=0 (-1)",
  ]);
});

test("differences of zero have no sign", () => {
  const [diff] = snapshot().compareTo(snapshot(trace(0, "a:1")), "lineno");
  assert(Object.is(diff!.sizeDiff, 0) && diff!.countDiff === -1, String(diff));
});

test("ties are ordered by each key in turn, downwards", () => {
  const order = (...traces: Trace[]) =>
    texts(snapshot(...traces).statistics("lineno")).map((text) => /[^:]*:\d+/.exec(text)![0]);
  assertEquals(order(trace(4, "a:1"), trace(2, "b:1"), trace(2, "b:1")), ["b:1", "a:1"]);
  assertEquals(order(trace(4, "a:1"), trace(4, "b:1"), trace(4, "b:2")), ["b:2", "b:1", "a:1"]);
  assertEquals(order(trace(4, "～:1"), trace(4, "😀:1"), trace(4, "\ud800:1")), ["😀:1", "～:1", "\ud800:1"]);
  const longer = snapshot(trace(4, "a:1", "a:1"), trace(4, "a:1"), trace(4, "a:1", "a:0")).statistics("traceback");
  assertEquals(longer.map(({ traceback }) => texts(traceback)), [["a:1", "a:1"], ["a:1", "a:0"], ["a:1"]]);
});

test("filters take what any inclusive one and no exclusive one matches", () => {
  const sizes = (...filters: (Filter | DomainFilter)[]) =>
    texts(newer.filterTraces(filters).traces).map((text) => text.split(": ")[1]);
  assertEquals(sizes(new Filter(true, "c.ts")), ["400 B"]);
  assertEquals(sizes(new Filter(true, "b.ts")), []);
  assertEquals(sizes(new Filter(true, "b.ts", { allFrames: true })).length, 5);
  assertEquals(sizes(new Filter(false, "b.ts", { allFrames: true })), ["400 B"]);
  assertEquals(sizes(new Filter(true, "a*", { lineno: 5 })), ["2 B", "5000 B"]);
  assertEquals(sizes(new Filter(false, "a*", { lineno: 5 })).length, 4);
  assertEquals(sizes(new Filter(true, "a*", { lineno: 5 }), new Filter(true, "c*")), ["2 B", "5000 B", "400 B"]);
  assertEquals(sizes(new Filter(true, "*"), new Filter(false, "a*")), ["400 B"]);
  assertEquals(sizes(new Filter(true, "*", { domain: 1 })), []);
  assertEquals(sizes(new Filter(false, "*", { domain: 1 })).length, 6);
  assertEquals(sizes(new DomainFilter(true, 0)).length, 6);
  assertEquals(sizes(new DomainFilter(false, 0)), []);
  assertEquals(sizes().length, 6);
  assert(newer.filterTraces(new Set([new DomainFilter(true, 0)])) !== newer);
  assertEquals(newer.filterTraces([new Filter(true, "c.ts")]).tracebackLimit, 10);
});

test("a row is kept or not, and nothing else", () => {
  const keeps = (inclusive: boolean, domain: number) =>
    new RowMatcher([new DomainFilter(inclusive, 7)]).keeps(domain, 0);
  assertEquals([keeps(true, 7), keeps(true, 8), keeps(false, 7), keeps(false, 8)], [true, false, false, true]);
});

test("an empty traceback is grouped and filtered as one unknown frame", () => {
  const empty = snapshot(trace(5), trace(3, "<unknown>:0"));
  assertEquals(texts(empty.statistics("lineno")), ["<unknown>:0: size=8 B, count=2, average=4 B"]);
  assertEquals(texts(empty.statistics("filename", true)), ["<unknown>:0: size=8 B, count=2, average=4 B"]);
  assertEquals(empty.statistics("traceback").map(({ traceback }) => traceback.length), [0, 1]);
  for (const allFrames of [false, true]) {
    assertEquals(empty.filterTraces([new Filter(true, "<unk*", { allFrames })]).traces.length, 2);
    assertEquals(empty.filterTraces([new Filter(true, "<unk*", { allFrames, lineno: 1 })]).traces.length, 0);
    assertEquals(snapshot(trace(1, "a:1")).filterTraces([new Filter(true, "<unk*", { allFrames })]).traces.length, 0);
  }
});

test("traces are a sequence of all blocks", () => {
  const { traces } = newer;
  assertEquals(traces.length, 6);
  assertEquals([traces.at(0)?.size, traces.at(-1)?.size, traces.at(-6)?.size, traces.at(4.9)?.size], [
    10,
    400,
    10,
    5000,
  ]);
  assertEquals([traces.at(6), traces.at(-7)], [undefined, undefined]);
  const two = snapshot(trace(1), trace(2)).traces;
  assertEquals([0, 0.9, -0.9, NaN, 1, -1].map((index) => two.at(index)?.size), [1, 1, 1, 1, 2, 2]);
  assertEquals([...traces].map(({ size }) => size), [10, 10, 10, 2, 5000, 400]);
  assert(traces.includes(trace(400, "c.ts:578")));
  assertFalse(traces.includes(trace(400, "c.ts:577")));
  assertFalse(traces.includes(trace(401, "c.ts:578")));
  assertFalse(traces.includes(new Trace(1, 400, traceback("c.ts:578"))));
  assertFalse(traces.includes(new Trace(0, 400, new Traceback(traceback("c.ts:578"), 1))));
  assert(traces === newer.traces);
});

test("totalNframe is kept", () => {
  const totals = [null, 0, 7, 2 ** 32 - 2];
  const { traces } = snapshot(...totals.map((total) => new Trace(0, 1, new Traceback([new Frame("a", 1)], total))));
  assertEquals([...traces].map(({ traceback }) => traceback.totalNframe), totals);
  assertEquals(
    snapshot(...traces).statistics("traceback").map(({ count, traceback }) => [count, traceback.totalNframe]),
    [
      [4, null],
    ],
  );
});

/** Columns with the same traces, each row with a count. */
function weighted(one: Snapshot, counts: number[]): Snapshot {
  return snapshotFromColumns({ ...snapshotData(one).columns, traceCount: Float64Array.from(counts) });
}

test("a row counts for as many blocks as it says", () => {
  const rows = weighted(snapshot(trace(10, "a:1"), trace(5, "b:1"), trace(7, "c:1")), [3, 1, 2]);
  assertEquals(rows.traces.length, 6);
  assertEquals([...rows.traces].map(({ size }) => size), [10, 10, 10, 5, 7, 7]);
  assertEquals([0, 2, 3, 4, 5, 6].map((index) => rows.traces.at(index)?.size), [10, 10, 5, 7, 7, undefined]);
  assertEquals([-1, -3, -6, -7].map((index) => rows.traces.at(index)?.size), [7, 5, 10, undefined]);
  assert(rows.traces.includes(trace(7, "c:1")));
  assertEquals(texts(rows.statistics("lineno")), [
    "a:1: size=30 B, count=3, average=10 B",
    "c:1: size=14 B, count=2, average=7 B",
    "b:1: size=5 B, count=1, average=5 B",
  ]);
  assertEquals(
    texts(rows.compareTo(snapshot(trace(10, "a:1")), "lineno"))[0],
    "a:1: size=30 B (+20 B), count=3 (+2), average=10 B",
  );
  assertEquals(rows.filterTraces([new Filter(true, "[ab]")]).traces.length, 4);
});

test("a block that stands for hardly more than itself is there once", () => {
  const traces = Array.from({ length: 20 }, (_, i) => trace(10 + i, "a:1"));
  const rows = weighted(snapshot(...traces), traces.map(() => 1.01));
  const sizes = traces.map(({ size }) => size);
  assertEquals(Array.from(rows.traces, ({ size }) => size), sizes);
  assertEquals(sizes.map((_, i) => rows.traces.at(i)!.size), sizes);
});

test("weights of sampled blocks need not be whole", () => {
  const rows = weighted(snapshot(trace(10, "a:1"), trace(5, "b:1"), trace(7, "c:1")), [1.25, 0.5, 2.5]);
  assertEquals(rows.traces.length, 4);
  assertEquals([...rows.traces].map(({ size }) => size), [10, 5, 7, 7]);
  assertEquals([0, 1, 2, 3, 4].map((index) => rows.traces.at(index)?.size), [10, 5, 7, 7, undefined]);
  const few = weighted(snapshot(trace(10, "a:1")), [2.25]);
  assertEquals([[...few.traces].length, few.traces.length], [2, 2]);
  const none = weighted(snapshot(trace(10, "a:1")), [0]);
  assertEquals([[...none.traces], none.traces.length, none.traces.at(0)], [[], 0, undefined]);
  assertEquals(rows.statistics("lineno").map(({ size, count }) => [size, count]), [[17.5, 2.5], [12.5, 1.25], [
    2.5,
    0.5,
  ]]);
  assertEquals(rows.statistics("filename", true).map(({ size }) => size), [17.5, 12.5, 2.5]);
});

test("columns hold what traces have in common once", () => {
  const two = [new Frame("b", 7), new Frame("a", 2 ** 32 - 1)];
  const one = new Snapshot([
    new Trace(3, 64, new Traceback(two)),
    new Trace(2 ** 32 - 1, 2 ** 53 - 1, new Traceback(two.slice(0, 1), 9)),
    new Trace(0, 0, new Traceback([])),
    new Trace(0, 1, new Traceback(two)),
  ], 2);
  assertEquals(snapshotData(one), {
    columns: {
      tracebackLimit: 2,
      filenames: ["b", "a"],
      frameFilename: Uint32Array.of(0, 1),
      frameLineno: Uint32Array.of(7, 2 ** 32 - 1),
      nodeParent: Uint32Array.of(0, 0, 1),
      nodeFrame: Uint32Array.of(0, 0, 1),
      tracebackNode: Uint32Array.of(2, 1, 0),
      tracebackTotal: Uint32Array.of(0, 10, 0),
      traceDomain: Uint32Array.of(3, 2 ** 32 - 1, 0, 0),
      traceSize: Float64Array.of(64, 2 ** 53 - 1, 0, 1),
      traceCount: Float64Array.of(1, 1, 1, 1),
      traceTraceback: Uint32Array.of(0, 1, 2, 0),
    },
    metadata: {},
    damage: null,
  });
});

test("equal names, frames and nodes are one, even if a snapshot has them twice", () => {
  const columns: SnapshotColumns = {
    tracebackLimit: 2,
    filenames: ["a", "a"],
    frameFilename: Uint32Array.of(0, 1, 1),
    frameLineno: Uint32Array.of(1, 1, 1),
    nodeParent: Uint32Array.of(0, 0, 0, 1, 2),
    nodeFrame: Uint32Array.of(0, 0, 2, 1, 0),
    tracebackNode: Uint32Array.of(3, 4),
    tracebackTotal: Uint32Array.of(0, 3),
    traceDomain: Uint32Array.of(0, 0),
    traceSize: Float64Array.of(1, 2),
    traceCount: Float64Array.of(1, 1),
    traceTraceback: Uint32Array.of(0, 1),
  };
  const one = snapshotFromColumns(columns);
  for (const keyType of ["filename", "lineno", "traceback"] as const) {
    assertEquals(one.statistics(keyType).map(({ size, count }) => [size, count]), [[3, 2]], keyType);
  }
  assertEquals(one.statistics("lineno", true).map(({ size, count }) => [size, count]), [[6, 4]]);
  assertEquals(snapshotData(one).columns, columns);
});

test("metadata goes with a snapshot, attribution only with all of its traces", () => {
  const metadata = { runtime: "deno", attribution: [{ reason: "javascript", blocks: 1, bytes: 10 }] };
  const one = snapshotFromColumns(snapshotData(newer).columns, metadata);
  assertEquals(snapshotData(one).metadata, metadata);
  assertEquals(snapshotData(one.filterTraces([])).metadata, metadata);
  assertEquals(snapshotData(one.filterTraces([new DomainFilter(true, 0)])).metadata, { runtime: "deno" });
});

test("what is missing of a snapshot is missing of its parts, too", () => {
  const damage = { offset: 7, text: "at byte 7 …" };
  const one = snapshotFromColumns(snapshotData(newer).columns, {}, damage);
  assertEquals([newer.damage, one.damage, snapshotData(one).damage], [null, damage, damage]);
  for (const filters of [[], [new DomainFilter(true, 0)]]) {
    assertEquals([newer.filterTraces(filters).damage, one.filterTraces(filters).damage], [null, damage]);
  }
});

test("batches give what the whole gives", () => {
  const { columns } = snapshotData(newer);
  for (const cumulative of [false, true]) {
    for (const keyType of cumulative ? ["filename", "lineno"] as const : ["filename", "lineno", "traceback"] as const) {
      const filters = [new Filter(false, "a*", { lineno: 2 })];
      const grouping = new Grouping(keyType, { cumulative, filters });
      // Row by row, with what each row needs just before it.
      let names = 0, frames = 0, nodes = 1, tracebacks = 0;
      for (let row = 0; row < columns.traceSize.length; row++) {
        const traceback = columns.traceTraceback[row]!;
        for (; tracebacks <= traceback; tracebacks++) {
          const node = columns.tracebackNode[tracebacks]!;
          for (; nodes <= node; nodes++) {
            const frame = columns.nodeFrame[nodes]!;
            for (; frames <= frame; frames++) {
              for (; names <= columns.frameFilename[frames]!; names++) {
                grouping.addFilenames([columns.filenames[names]!]);
              }
              grouping.addFrames(
                columns.frameFilename.subarray(frames, frames + 1),
                columns.frameLineno.subarray(frames, frames + 1),
              );
            }
            grouping.addNodes(
              columns.nodeParent.subarray(nodes, nodes + 1),
              columns.nodeFrame.subarray(nodes, nodes + 1),
            );
          }
          grouping.addTracebacks(columns.tracebackNode.subarray(tracebacks, tracebacks + 1));
        }
        const here = [row, row + 1] as const;
        grouping.addTraces(
          columns.traceDomain.subarray(...here),
          columns.traceSize.subarray(...here),
          columns.traceCount.subarray(...here),
          columns.traceTraceback.subarray(...here),
        );
      }
      const whole = newer.filterTraces(filters).statistics(keyType, cumulative);
      assertEquals(texts(grouping.statistics()), texts(whole));
      assertEquals(texts(grouping.statistics()), texts(whole), "asked again");
      assert(whole.length > 0);
    }
  }
});

test("an empty traceback is unknown in a dictionary that has other names, too", () => {
  for (const keyType of ["filename", "lineno"] as const) {
    const dictionary = new Dictionary();
    dictionary.frame(dictionary.filename("a"), 1);
    const grouping = new Grouping(keyType, { dictionary });
    grouping.addTracebacks(Uint32Array.of(0));
    grouping.addTraces(Uint32Array.of(0), Float64Array.of(8), Float64Array.of(1), Uint32Array.of(0));
    assertEquals(texts(grouping.statistics()), ["<unknown>:0: size=8 B, count=1, average=8 B"]);
  }
});

test("groupings are compared only if they number keys alike", () => {
  const dictionary = new Dictionary();
  const one = new Grouping("lineno", { dictionary });
  assertThrows(() => one.compareTo(new Grouping("lineno")), TypeError, "the same dictionary");
  assertThrows(() => one.compareTo(new Grouping("filename", { dictionary })), TypeError, "the same key type");
  assertEquals(one.compareTo(new Grouping("lineno", { dictionary })), []);
  // Not cumulative unless asked: by traceback that would be refused.
  assertEquals(new Grouping("traceback").statistics(), []);
});

test("bad arguments are refused", () => {
  // deno-lint-ignore no-explicit-any
  const wrong = (value: unknown): any => value;
  assertThrows(
    () => newer.statistics(wrong("line")),
    RangeError,
    'keyType must be "filename", "lineno" or "traceback", not "line"',
  );
  assertThrows(() => newer.statistics(wrong(undefined)), RangeError, "not undefined");
  assertThrows(() => newer.statistics("traceback", true), RangeError, "cumulative statistics need");
  assertThrows(() => newer.compareTo(older, "traceback", true), RangeError, "cumulative statistics need");
  assertThrows(() => newer.compareTo(wrong([]), "lineno"), TypeError, "old must be a Snapshot, not Array");
  assertThrows(
    () => newer.filterTraces(wrong(new DomainFilter(true, 0))),
    TypeError,
    "filters must be an array of filters, not DomainFilter",
  );
  assertThrows(
    () => newer.filterTraces(wrong(undefined)),
    TypeError,
    "filters must be an array of filters, not undefined",
  );
  assertThrows(() => newer.filterTraces(wrong(null)), TypeError, "filters must be an array of filters, not null");
  assertThrows(
    () => newer.filterTraces(wrong(["a"])),
    TypeError,
    "filters must be instances of Filter or DomainFilter, not string",
  );
  assertThrows(() => new Snapshot(wrong([{}]), 1), TypeError, "traces must be instances of Trace, not Object");
  assertThrows(() => new Snapshot([], wrong("1")), TypeError, "tracebackLimit must be a number, not string");
  assertThrows(() => new Snapshot([], -1), RangeError, "tracebackLimit must be a whole number from 0 to 65535, not -1");
  assertThrows(
    () => new Snapshot([], 65536),
    RangeError,
    "tracebackLimit must be a whole number from 0 to 65535, not 65536",
  );
});

test("an empty snapshot has nothing", () => {
  const empty = snapshot();
  assertEquals([empty.traces.length, [...empty.traces], empty.traces.at(0)], [0, [], undefined]);
  for (const keyType of ["filename", "lineno", "traceback"] as const) {
    assertEquals([empty.statistics(keyType), empty.compareTo(empty, keyType)], [[], []]);
  }
  assertEquals(empty.statistics("lineno", true), []);
  assertEquals(empty.filterTraces([new Filter(true, "*")]).traces.length, 0);
});

test("the model alone says that it cannot write or read", async () => {
  const saved = currentCodec();
  useCodec(undefined);
  try {
    assertThrows(() => newer.dump("x"), UnsupportedError, "import mod.ts");
    assertThrows(() => Snapshot.load("x"), UnsupportedError, "import mod.ts");
    assertThrows(() => newer.toStream(), UnsupportedError, "import mod.ts");
    await assertRejects(() => Snapshot.fromStream(new ReadableStream()), UnsupportedError, "import mod.ts");
  } finally {
    useCodec(saved);
  }
});
