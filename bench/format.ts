/**
 * Snapshot files and statistics side by side with CPython's own tracemalloc, on the same traces, in one run.
 *
 *   deno run -A bench/format.ts [COUNT] [spread|program]        (1,000,000 traces, spread)
 *   bun bench/format.ts 5000000 spread
 *
 * Needs `python3`. A dump starts from a row a block, as CPython has them, or from rows in which alike blocks are one.
 * Times are CPython's best of three (of one, where it takes many seconds), and here the first, which is made before the
 * runtime has compiled anything, and the best of ten. The ratio is that of the best ones.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Filter, type KeyType, Snapshot } from "../mod.ts";
import type { SnapshotColumns } from "../lib/model/columns.ts";
import { Dictionary } from "../lib/model/dictionary.ts";
import { foldRows } from "../lib/model/fold_rows.ts";
import { snapshotData, snapshotFromColumns } from "../lib/model/snapshot.ts";

const count = Number(process.argv[2] ?? 1_000_000);
const dataset = process.argv[3] ?? "spread";
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-bench-"));
try {
  const script = fileURLToPath(new URL("format_reference.py", import.meta.url));
  const { status } = spawnSync("python3", [script, folder, String(count), dataset], { stdio: "inherit" });
  if (status !== 0) throw new Error("CPython's side failed: python3 must be there, see above");
  compare();
} finally {
  rmSync(folder, { recursive: true });
}

function compare(): void {
  const theirs: Record<string, number> = JSON.parse(readFileSync(join(folder, "times.json"), "utf8"));
  const tables = readTables();
  const [newer, older] = ["newer", "older"].map((name) =>
    snapshotFromColumns({ ...tables, ...readRows(join(folder, `${name}.rows`)) })
  ) as [Snapshot, Snapshot];
  const path = join(folder, "newer.tracemalloc");
  const olderPath = join(folder, "older.tracemalloc");
  console.log(
    `${theirs.traces} traces (${dataset}), CPython ${theirs.python}, ${"Bun" in globalThis ? "Bun" : "Deno"}, ` +
      `${tables.tracebackNode.length} tracebacks, ${tables.nodeParent.length - 1} nodes`,
  );
  line("", "CPython", "this, first", "best", "ratio");
  const whole = snapshotData(newer).columns;
  const rows = foldRows({
    domain: whole.traceDomain,
    size: whole.traceSize,
    count: whole.traceCount,
    traceback: whole.traceTraceback,
  });
  const folded = snapshotFromColumns({
    ...whole,
    traceDomain: rows.domain,
    traceSize: rows.size,
    traceCount: rows.count,
    traceTraceback: rows.traceback,
  });
  time("dump", () => newer.dump(path), "dump, a row a block");
  time("dump", () => folded.dump(path), "dump, alike blocks one row");
  older.dump(olderPath);
  const bytes = statSync(path).size;
  line("file, bytes", `${theirs.bytes}`, "", `${bytes}`, `${(theirs.bytes! / bytes).toFixed(1)}`);
  const loaded = time("load", () => Snapshot.load(path));
  const loadedOlder = Snapshot.load(olderPath);
  const blocks = loaded.statistics("filename").reduce((sum, { count }) => sum + count, 0);
  if (blocks !== theirs.traces) throw new Error(`the loaded file has ${blocks} blocks`);
  const keys: readonly KeyType[] = ["filename", "lineno", "traceback"];
  for (const key of keys) {
    const groups = time(`statistics ${key}`, () => loaded.statistics(key));
    if (groups.length !== theirs[`groups ${key}`]) throw new Error(`${groups.length} groups by ${key}`);
  }
  for (const key of keys.slice(0, 2)) time(`statistics ${key}, cumulative`, () => loaded.statistics(key, true));
  for (const key of keys) time(`compare ${key}`, () => loaded.compareTo(loadedOlder, key));
  const filters = [new Filter(true, "*/[a-f]*/*"), new Filter(false, "*_7.py")];
  const filtered = time("filter", () => loaded.filterTraces(filters));
  if (filtered.traces.length !== theirs.filtered) throw new Error(`${filtered.traces.length} traces filtered`);

  function time<T>(name: string, call: () => T, title = name): T {
    const times: number[] = [];
    let result: T;
    for (let i = 0; i < 10; i++) {
      const started = performance.now();
      result = call();
      times.push(performance.now() - started);
    }
    const seconds = theirs[name]!;
    const best = Math.min(...times);
    const ratio = (1000 * seconds / best).toFixed(1);
    line(title, `${(1000 * seconds).toFixed(1)} ms`, `${times[0]!.toFixed(2)} ms`, `${best.toFixed(2)} ms`, ratio);
    return result!;
  }
}

function line(name: string, theirs: string, first: string, best: string, ratio: string): void {
  console.log(`${name.padEnd(32)}${[theirs, first, best, ratio].map((cell) => cell.padStart(14)).join("")}`);
}

type Tables = Omit<SnapshotColumns, "traceDomain" | "traceSize" | "traceCount" | "traceTraceback">;

function readTables(): Tables {
  const { limit, names, tracebacks } = JSON.parse(readFileSync(join(folder, "tables.json"), "utf8")) as {
    limit: number;
    names: string[];
    tracebacks: [frames: [name: number, line: number][], total: number][];
  };
  const dictionary = new Dictionary();
  const ends = tracebacks.map(([frames]) =>
    frames.reduce(
      (node, [name, lineno]) => dictionary.node(node, dictionary.frame(dictionary.filename(names[name]!), lineno)),
      0,
    )
  );
  return {
    tracebackLimit: limit,
    ...dictionary.columns(),
    tracebackNode: Uint32Array.from(ends),
    tracebackTotal: Uint32Array.from(tracebacks, ([, total]) => total + 1),
  };
}

function readRows(path: string): Omit<SnapshotColumns, keyof Tables> {
  const file = readFileSync(path);
  const { buffer } = new Uint8Array(file);
  const length = buffer.byteLength / 16;
  return {
    traceDomain: new Uint32Array(buffer.slice(0, 4 * length)),
    traceSize: new Float64Array(buffer.slice(4 * length, 12 * length)),
    traceCount: new Float64Array(length).fill(1),
    traceTraceback: new Uint32Array(buffer.slice(12 * length)),
  };
}
