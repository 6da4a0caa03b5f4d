/**
 * Snapshots whose files are kept in schema/golden/, a folder for every version of the format ever released.
 *
 *   deno run -A tests/format/golden_cases.ts        writes the files that are missing; it never changes one
 */
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { SnapshotColumns, SnapshotMetadata } from "../../lib/model/columns.ts";
import { snapshotBytes } from "../../lib/format/writer.ts";
import { columnsOf } from "./snapshots.ts";

/** The folder of the version that the writer writes. */
export const goldenFolder: string = fileURLToPath(new URL("../../schema/golden/1.0/", import.meta.url));

/** A snapshot, and what its golden file is called. */
export interface GoldenCase {
  readonly name: string;
  readonly columns: SnapshotColumns;
  readonly metadata: SnapshotMetadata;
}

const trace = { domain: 0, size: 100, count: 1, frames: [["main.ts", 1]] as const, total: 1 };

export const goldenCases: readonly GoldenCase[] = [
  { name: "empty", columns: columnsOf([], 1), metadata: {} },
  {
    name: "plain",
    columns: columnsOf([
      { ...trace, frames: [["file:///app/main.ts", 10], ["file:///app/cache.ts", 3]], total: 2 },
      { ...trace, frames: [["file:///app/main.ts", 10], ["file:///app/cache.ts", 3]], total: 2 },
      { ...trace, frames: [["file:///app/main.ts", 10], ["file:///app/cache.ts", 7]], total: 9, size: 4096 },
      { ...trace, frames: [], total: null, size: 0 },
      { ...trace, frames: [["file:///app/main.ts", 0]], total: 1, domain: 2, size: 65536 },
    ], 25),
    metadata: {
      runtime: "deno",
      runtimeVersion: "2.9.6",
      engine: "V8 15.0.245.2",
      platform: "linux-x86_64",
      pid: 4711,
      createdAt: 1700000000123.5,
      calibration: new Map([["SharedFunctionInfo.script", "24"], ["\u00e4", ""]]),
      attribution: [
        { reason: "javascript", blocks: 4, bytes: 69_832 },
        { reason: "native: no JavaScript on the thread", blocks: 1, bytes: 0 },
      ],
    },
  },
  {
    name: "names",
    columns: columnsOf(
      ["", "a", "a\0b", "\ud83d\ude00.ts", "\ud83d.ts", "\udc00", "\ufeffbom.ts", "\u00e9.ts", "e\u0301.ts", "\uffff"]
        .map(
          (filename, i) => ({ ...trace, frames: [[filename, i]] }),
        ),
    ),
    metadata: {},
  },
  {
    name: "extremes",
    columns: columnsOf(
      [0, 1, 2 ** 24 - 1, 2 ** 24, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1].flatMap((size) => [
        { ...trace, size },
        { ...trace, size, count: 2 ** 53 - 1, domain: 0xffff_ffff, frames: [["main.ts", 0xffff_ffff]], total: 0xffff },
      ]),
      65535,
    ),
    metadata: { pid: 2 ** 32 - 1, createdAt: -1 },
  },
  {
    name: "weights",
    columns: columnsOf([0.1, 0.2, 3, 1.5, 4, 1e300, 5e-324].map((count) => ({ ...trace, domain: 1, count }))),
    metadata: {},
  },
  {
    name: "batches",
    columns: columnsOf(
      Array.from({ length: 40_000 }, (_, i) => ({
        domain: i & 1,
        size: 8 * (i % 50) + (i % 1000 === 0 ? 10_000_000 : 0),
        count: 1 + i % 3,
        frames: [["a.ts", 1], ["b.ts", i >> 4]],
        total: 2,
      })),
      2,
    ),
    metadata: {},
  },
];

if (import.meta.main) {
  mkdirSync(goldenFolder, { recursive: true });
  for (const { name, columns, metadata } of goldenCases) {
    const path = `${goldenFolder}${name}.tracemalloc`;
    if (existsSync(path)) continue;
    const bytes = snapshotBytes(columns, metadata);
    writeFileSync(path, bytes);
    console.log(`${path}: ${bytes.length} bytes`);
  }
}
