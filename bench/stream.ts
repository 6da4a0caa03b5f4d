/**
 * Aggregates, compares and merges snapshots that need not fit in memory: a file of many traces, made by a generator
 * that streams it. Each step runs in a process of its own and prints its time, its throughput and its peak of resident
 * memory (Linux).
 *
 *   deno run -A bench/stream.ts [COUNT]        (100,000,000 traces over 200,000 tracebacks)
 *   bun bench/stream.ts 10000000
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { aggregate } from "../lib/aggregate/aggregate.ts";
import { compareFiles } from "../lib/aggregate/compare_files.ts";
import { mergeFiles } from "../lib/aggregate/merge_files.ts";
import { replaceFile } from "../lib/format/file.ts";
import { SnapshotWriter } from "../lib/format/writer.ts";

const TRACEBACKS = 200_000;
const FRAMES = 20_000;

/** What a process can be told to do; each gets a folder and the number of traces. */
const steps: Readonly<Record<string, (folder: string, count: number) => Promise<number> | number>> = {
  make: (folder, count) => make(join(folder, "a"), count, 1),
  "make a second": (folder, count) => make(join(folder, "b"), count, 2),
  "aggregate by lineno": async (folder) => (await aggregate(join(folder, "a"), { keyType: "lineno" })).length,
  "aggregate by lineno, cumulative": async (folder) =>
    (await aggregate(join(folder, "a"), { keyType: "lineno", cumulative: true })).length,
  "aggregate by traceback": async (folder) => (await aggregate(join(folder, "a"), { keyType: "traceback" })).length,
  "compare by lineno": async (folder) =>
    (await compareFiles(join(folder, "b"), join(folder, "a"), { keyType: "lineno" })).length,
  merge: async (folder) => {
    await mergeFiles([join(folder, "a"), join(folder, "b")], join(folder, "merged"));
    return statSync(join(folder, "merged")).size;
  },
};

/** Streams a file: a row a trace, in the order of nothing. */
function make(path: string, count: number, seed: number): number {
  replaceFile(path, (sink) => {
    const writer = new SnapshotWriter(sink);
    writer.metadata(25, { runtime: "deno" });
    writer.strings(Array.from({ length: 200 }, (_, i) => `file:///home/user/project/src/module_${i}.ts`));
    const numbers = (length: number, value: (i: number) => number) => Uint32Array.from({ length }, (_, i) => value(i));
    writer.frames(numbers(FRAMES, (i) => i % 200), numbers(FRAMES, (i) => i / 200 + 1));
    // Paths of some ten frames: every node extends one of the last hundreds, or the root.
    writer.nodes(
      numbers(TRACEBACKS, (i) => (i % 10 === 0 ? 0 : i - Math.min(i - 1, Math.imul(i, 0x9e3779b1) >>> 28))),
      numbers(TRACEBACKS, (i) => (Math.imul(i, 0x85ebca6b) >>> 4) % FRAMES),
    );
    writer.tracebacks(numbers(TRACEBACKS, (i) => i + 1), new Uint32Array(TRACEBACKS));
    const rows = {
      domain: new Uint32Array(32_768),
      size: new Float64Array(32_768),
      count: new Float64Array(32_768).fill(1),
      traceback: new Uint32Array(32_768),
    };
    let state = seed;
    for (let at = 0; at < count; at += 32_768) {
      for (let i = 0; i < 32_768; i++) {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        rows.traceback[i] = (state >>> 0) % TRACEBACKS;
        rows.size[i] = 16 * (1 + (state >>> 11) % 60);
      }
      const left = Math.min(32_768, count - at);
      writer.traces({
        domain: rows.domain.subarray(0, left),
        size: rows.size.subarray(0, left),
        count: rows.count.subarray(0, left),
        traceback: rows.traceback.subarray(0, left),
      });
    }
    writer.finish();
  });
  return statSync(path).size;
}

function peakMemory(): number {
  const status = readFileSync("/proc/self/status", "utf8");
  return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024;
}

const [, , first, folder, countText] = process.argv;
const step = first === undefined ? undefined : steps[first];
if (step !== undefined) {
  const count = Number(countText);
  const started = performance.now();
  const result = await step(folder!, count);
  const seconds = (performance.now() - started) / 1000;
  const traces = /second|merge|compare/.test(first!) && first !== "make a second" ? 2 * count : count;
  console.log(
    `${first!.padEnd(34)}${seconds.toFixed(2).padStart(8)} s${
      (traces / seconds / 1e6).toFixed(1).padStart(8)
    } M traces/s` +
      `${peakMemory().toFixed(0).padStart(7)} MiB peak   (${result} ${/make|merge/.test(first!) ? "bytes" : "groups"})`,
  );
} else {
  const count = Number(first ?? 100_000_000);
  const temporary = mkdtempSync(join(tmpdir(), "tracemalloc-stream-"));
  const self = fileURLToPath(import.meta.url);
  const command = "Deno" in globalThis ? ["run", "-A", "--no-check", self] : [self];
  console.log(`${count} traces over ${TRACEBACKS} tracebacks, ${"Bun" in globalThis ? "Bun" : "Deno"}`);
  try {
    for (const name of Object.keys(steps)) {
      const { status } = spawnSync(process.execPath, [...command, name, temporary, String(count)], {
        stdio: "inherit",
      });
      if (status !== 0) throw new Error(`${name} failed`);
    }
  } finally {
    rmSync(temporary, { recursive: true });
  }
}
