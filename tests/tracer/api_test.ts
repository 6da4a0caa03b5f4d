import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import process from "node:process";
import { test } from "node:test";
import {
  clearTraces,
  Filter,
  getTracebackLimit,
  getTracedMemory,
  getTracemallocMemory,
  isTracing,
  NotTracingError,
  resetPeak,
  start,
  stop,
  takeSnapshot,
} from "@x/tracemalloc";

const runtime = "Deno" in globalThis ? "deno" : "Bun" in globalThis ? "bun" : "node";
const onV8 = runtime !== "bun";
const here = new URL(import.meta.url).pathname;

/** Traces of blocks of one size. */
function tracesOf(size: number) {
  return [...takeSnapshot().traces].filter((trace) => trace.size === size);
}

/** The line that calls this. */
function thisLine(): number {
  return Number(/:(\d+):\d+\)?$/.exec(new Error().stack!.split("\n")[2]!)![1]);
}

test("when not tracing, there is nothing, and it is said so", () => {
  assertEquals(isTracing(), false);
  assertEquals(getTracedMemory(), [0, 0]);
  assertEquals(getTracemallocMemory(), 0);
  stop();
  clearTraces();
  resetPeak();
  assertThrows(() => takeSnapshot(), NotTracingError, "call start() first");
  assertThrows(() => getTracebackLimit(), NotTracingError);
});

test("arguments that are wrong change nothing", () => {
  for (const nframe of [0, -1, 65536, 1.5, NaN, Infinity]) {
    assertThrows(() => start(nframe), RangeError, "a whole number from 1 to 65535");
  }
  assertThrows(() => start("2" as unknown as number), TypeError, "nframe must be a number");
  assertThrows(() => start(1, { domain: ["native"] } as object), TypeError, 'unknown option "domain"');
  assertThrows(() => start(1, { sampleBytes: "1" } as object), TypeError, "sampleBytes must be a number, not string");
  for (const sampleBytes of [0, 1.5, -1, NaN, 2 ** 30 + 1]) {
    assertThrows(
      () => start(1, { sampleBytes }),
      RangeError,
      "sampleBytes must be a whole number from 1 to 1073741824",
    );
  }
  assertThrows(() => start(1, { domains: ["natif"] } as object), TypeError, 'unknown domain "natif"');
  assertThrows(() => start(1, null as unknown as object), TypeError, "options must be an object");
  assertEquals(isTracing(), false);
});

test("a block is charged to its line, with exactly its size", () => {
  start();
  try {
    assertEquals([isTracing(), getTracebackLimit()], [true, 1]);
    const kept = [new Uint8Array(1_999_907), thisLine()] as const;
    const [trace, ...others] = tracesOf(1_999_907);
    assertEquals(others, []);
    assertEquals(String(trace?.traceback), `${here}:${kept[1]}`);
    assertEquals([trace?.domain, trace?.traceback.length, trace?.traceback.totalNframe], [0, 1, null]);
    assert(getTracemallocMemory() > 0);
  } finally {
    stop();
  }
  assertEquals(isTracing(), false);
  assertEquals(getTracedMemory(), [0, 0]);
});

test("more frames, the oldest first; the limit stays while tracing", () => {
  start(3);
  try {
    start(7);
    assertEquals(getTracebackLimit(), 3);
    const lines: number[] = [];
    const inner = () => (lines[2] = thisLine(), new Uint8Array(1_999_909));
    const middle = () => [(lines[1] = thisLine(), inner())];
    const kept = [(lines[0] = thisLine(), middle())];
    const [trace] = tracesOf(1_999_909);
    assertEquals([...trace!.traceback].map(String), lines.map((line) => `${here}:${line}`));
    assertEquals(kept.length, 1);
  } finally {
    stop();
  }
});

test("sampled blocks stand for the others", () => {
  start(1, { sampleBytes: 65_536 });
  try {
    const kept = Array.from({ length: 5000 }, () => new Uint8Array(20_011)), line = thisLine();
    const [sum] = takeSnapshot().filterTraces([new Filter(true, here, { lineno: line })]).statistics("lineno");
    // 100 MB; the standard deviation of such an estimate is 2.5 %. What the engine allocates on the line comes on top.
    assert(sum!.size > 88_000_000 && sum!.size < 115_000_000, String(sum));
    const [current] = getTracedMemory();
    assert(current > 88_000_000 && current < 130_000_000, String(current));
    const large = new Uint8Array(5_000_021);
    // It stands for itself, and on Bun for the few bytes before it that were not sampled; traces are rounded in sum.
    assert([1, 2].includes(tracesOf(5_000_021).length));
    assertEquals(kept.length + large.length, 5_005_021);
  } finally {
    stop();
  }
});

test("current and peak follow the blocks; clearing forgets them", () => {
  start();
  try {
    const [before] = getTracedMemory();
    const kept = new ArrayBuffer(9_999_001);
    const [current, peak] = getTracedMemory();
    // What the engine itself allocates meanwhile is far less than a megabyte.
    assert(current - before >= 9_999_001 && current - before < 11_000_000, `${before} → ${current}`);
    assert(peak >= current);
    // Transferring to nowhere frees the memory at once, without a collection.
    structuredClone(kept, { transfer: [kept] }).transfer(0);
    const [after, same] = getTracedMemory();
    assert(after < current - 9_000_000, `${current} → ${after}`);
    assert(same >= peak);
    resetPeak();
    const [now, reset] = getTracedMemory();
    assert(reset < peak && reset >= now, `peak ${reset}, was ${peak}`);
    const again = new ArrayBuffer(999_003);
    clearTraces();
    assertEquals(tracesOf(999_003), []);
    assert(getTracedMemory()[0] < 999_003);
    assertEquals(isTracing(), true);
    assertEquals(again.byteLength, 999_003);
  } finally {
    stop();
  }
});

test("stopping forgets; starting again knows only what comes after", () => {
  start();
  const first = new Uint8Array(1_999_911);
  stop();
  const second = new Uint8Array(1_999_913);
  start();
  try {
    const third = new Uint8Array(1_999_917);
    assertEquals([first, second, third].map(({ length }) => tracesOf(length).length), [0, 0, 1]);
  } finally {
    stop();
  }
});

test("the tracer's own work is not in the next snapshot, nor on any stack", () => {
  start(8);
  try {
    takeSnapshot();
    // Threads of the engine's compile what the tracer's work has made hot.
    const withoutThreads = () => takeSnapshot().filterTraces([new Filter(false, "<native *>")]);
    const before = withoutThreads(), after = withoutThreads();
    const grown = after.compareTo(before, "lineno").reduce((sum, { sizeDiff }) => sum + sizeDiff, 0);
    // The call into the shim and the way there are the program's; a snapshot takes hundreds of kilobytes.
    assert(grown < 20_000, after.compareTo(before, "lineno").slice(0, 5).join("\n"));
    const files = new Set([...after.traces].flatMap(({ traceback }) => [...traceback].map(({ filename }) => filename)));
    const own = [...files].filter((filename) =>
      filename.includes("/lib/tracer/") || filename.includes("/lib/runtime/")
    );
    // Only what no line of the program asked for is charged to them: work of theirs that a timer or the end starts.
    assertEquals(own, []);
  } finally {
    stop();
  }
});

test("snapshots say how the blocks were attributed, and how the engine was found", async () => {
  const { snapshotData } = await import("../../lib/model/snapshot.ts");
  start();
  try {
    const kept = new Uint8Array(1_999_919);
    const snapshot = takeSnapshot(), { metadata } = snapshotData(snapshot);
    assertEquals([metadata.runtime, metadata.platform], [runtime, "linux-x86_64"]);
    assertMatch(metadata.engine ?? "", onV8 ? /^V8 \d+\./ : /^JavaScriptCore [0-9a-f]{7}/);
    const rows = metadata.attribution ?? [];
    const blocks = rows.filter(({ bytes }) => bytes > 0).reduce((sum, row) => sum + row.blocks, 0);
    assertEquals(blocks, snapshot.traces.length);
    assert((rows.find(({ reason }) => reason === "JavaScript line")?.bytes ?? 0) >= kept.length);
    if (onV8) {
      // Node 22 does not use Maglev.
      const levels = runtime === "node" && process.versions.node.startsWith("22.")
        ? /^frames anchors reentry baseline turbofan inlining/
        : /^frames anchors reentry baseline maglev turbofan inlining/;
      assertMatch(metadata.calibration?.get("levels") ?? "", levels);
    } else {
      for (const name of ["vm_top", "stream_bytes", "dfg_origins", "ftl_origins", "provider_text", "vm_epoch0"]) {
        assert(Number(metadata.calibration?.get(name)) > 0, name);
      }
    }
  } finally {
    stop();
  }
});
