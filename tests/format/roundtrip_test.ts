import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { readSnapshot, readSnapshotStream } from "../../lib/format/reader.ts";
import { snapshotBytes, writeSnapshot } from "../../lib/format/writer.ts";
import { anyColumns, anyMetadata, columnsOf, meaning } from "./snapshots.ts";

test("what was written is what is read", () => {
  fc.assert(fc.property(anyColumns, anyMetadata, (columns, metadata) => {
    const read = readSnapshot(snapshotBytes(columns, metadata));
    assertEquals(meaning(read.columns), meaning(columns));
    assertEquals(read.metadata, metadata);
    assertEquals(read.damage, null);
  }));
});

test("what was read is written as the same bytes", () => {
  fc.assert(fc.property(anyColumns, anyMetadata, (columns, metadata) => {
    const bytes = snapshotBytes(columns, metadata);
    const read = readSnapshot(bytes);
    assertEquals(snapshotBytes(read.columns, read.metadata), bytes);
  }));
});

test("a stream in pieces of any length gives the same as the whole", async () => {
  await fc.assert(
    fc.asyncProperty(
      anyColumns,
      fc.array(fc.integer({ min: 1, max: 900 }), { minLength: 1 }),
      async (columns, cuts) => {
        const bytes = snapshotBytes(columns, {});
        const read = await readSnapshotStream(pieces(bytes, cuts));
        assertEquals(read, readSnapshot(bytes));
      },
    ),
    { numRuns: 50 },
  );
});

/** The bytes in pieces; each lies in the same buffer, which is overwritten for the next. */
function* pieces(bytes: Uint8Array, lengths: readonly number[]): Generator<Uint8Array> {
  const buffer = new Uint8Array(1000);
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const piece = bytes.subarray(at, at + lengths[i % lengths.length]!);
    buffer.fill(0xaa);
    buffer.set(piece);
    yield buffer.subarray(0, piece.length);
    at += piece.length;
  }
}

test("an empty snapshot", () => {
  const read = readSnapshot(snapshotBytes(columnsOf([], 7), {}));
  assertEquals(meaning(read.columns), { tracebackLimit: 7, rows: [] });
  assertEquals(read.totals, { strings: 0, frames: 0, nodes: 0, tracebacks: 0, rows: 0, blocks: 0, bytes: 0 });
  assertEquals([...read.columns.nodeParent], [0]);
});

test("alike blocks are one row, and weights are not added up", () => {
  const frames = [["a.ts", 1]] as const;
  const trace = { domain: 0, size: 24, count: 1, frames, total: 1 };
  const columns = columnsOf([trace, { ...trace, count: 0.5 }, { ...trace, count: 2 }, { ...trace, count: 0.5 }]);
  const read = readSnapshot(snapshotBytes(columns, {}));
  assertEquals([...read.columns.traceCount].sort(), [0.5, 0.5, 3]);
  assertEquals(read.totals.blocks, 4);
  assertEquals(read.totals.bytes, 96);
});

test("tracebacks, frames and file names that no trace refers to are left out", () => {
  const trace = { domain: 0, size: 1, count: 1, total: null };
  const columns = columnsOf([
    { ...trace, frames: [["a.ts", 1], ["b.ts", 2]] },
    { ...trace, frames: [["a.ts", 1], ["c.ts", 3]] },
    { ...trace, frames: [["d.ts", 4]] },
  ]);
  const one = { ...columns, traceDomain: Uint32Array.of(0), traceSize: Float64Array.of(1) };
  const filtered = { ...one, traceCount: Float64Array.of(1), traceTraceback: Uint32Array.of(1) };
  const read = readSnapshot(snapshotBytes(filtered, {}));
  assertEquals(read.columns.filenames, ["a.ts", "c.ts"]);
  assertEquals(meaning(read.columns), meaning(filtered));
});

test("more entries than a batch holds", () => {
  const rows = Array.from({ length: 70_001 }, (_, i) => ({
    domain: i % 3,
    size: i % 7 === 0 ? 2 ** 40 + i : 16 * (i % 100),
    count: 1,
    frames: [[`file:///${i % 70_001}.ts`, i]] as const,
    total: 1,
  }));
  const columns = columnsOf(rows);
  const sizes: number[] = [];
  writeSnapshot(columns, {}, { write: (bytes) => sizes.push(bytes.length) });
  assertEquals(Math.max(...sizes) <= 2 ** 20, true);
  const read = readSnapshot(snapshotBytes(columns, {}));
  assertEquals(read.totals.nodes, 70_001);
  assertEquals(meaning(read.columns), meaning(columns));
});

test("a file name longer than a batch has a batch to itself", () => {
  const name = "x".repeat(3_000_000);
  const columns = columnsOf(["a", name, "b"].map((filename) => ({
    domain: 0,
    size: 1,
    count: 1,
    frames: [[filename, 1]],
    total: null,
  })));
  assertEquals(readSnapshot(snapshotBytes(columns, {})).columns.filenames, ["a", name, "b"]);
});

test("what the format cannot hold is a RangeError", () => {
  const good = { domain: 0, size: 1, count: 1, frames: [], total: null };
  for (const size of [-1, 0.5, 2 ** 53, Infinity, NaN]) {
    assertThrows(() => snapshotBytes(columnsOf([{ ...good, size }]), {}), RangeError, "the size of a trace");
  }
  for (const count of [0, -1, Infinity, NaN]) {
    assertThrows(() => snapshotBytes(columnsOf([{ ...good, count }]), {}), RangeError, "the count of a trace");
  }
  for (const limit of [-1, 65536, 1.5]) {
    assertThrows(() => snapshotBytes(columnsOf([good], limit), {}), RangeError, "the traceback limit");
  }
  const long = columnsOf([{ ...good, frames: [["y".repeat(2 ** 24 + 1), 1]] }]);
  assertThrows(() => snapshotBytes(long, {}), RangeError, "a file name of 16777217 bytes");
});
