/**
 * What the js-heap domain costs, and how exact it is: in turns, each in a process of its own, medians of CPU time.
 *
 *   deno run -A bench/js_heap.ts [ROUNDS]        (5)
 *
 * Beside ours: V8's sampling heap profiler alone at the same interval, with stacks of one frame as ours has V8 keep, and
 * with the 128 of its default.
 */
import { spawnSync } from "node:child_process";
import { Session } from "node:inspector";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { heapFlags } from "../lib/runtime/v8_flags.ts";
import { start } from "../mod.ts";

const intervals = [1, 1024, 32 * 1024, 512 * 1024];

type Mode = "untraced" | "V8 alone, 1 frame" | "V8 alone, 128 frames" | "js-heap";

interface Item {
  readonly name: string;
  readonly values: readonly number[];
}

/** A program's mixture: parsing, maps, closures, strings; most of what it makes dies, some stays. */
function work(rounds: number): number {
  const kept = new Map<string, Item>();
  let sum = 0;
  for (let round = 0; round < rounds; round++) {
    const items: Item[] = Array.from({ length: 300 }, (_, i) => ({ name: `item ${i}`, values: [i, round, i * round] }));
    const copies = JSON.parse(JSON.stringify(items)) as Item[];
    for (const { name, values } of copies.filter(({ values }) => values[0]! % 3 === round % 3)) {
      if (round % 20 === 0) kept.set(`${round} ${name}`, { name, values });
      sum += values.map((x) => x + 1).reduce((a, b) => a + b, 0);
    }
    sum += copies.map(({ name }) => name.toUpperCase().split(" ")).flat().length;
  }
  return sum + kept.size;
}

function begin(mode: Mode, interval: number): void {
  if (mode === "untraced") return;
  if (mode === "js-heap") return start(1, { domains: ["js-heap"], jsInterval: interval });
  const session = new Session();
  session.connect();
  session.post("HeapProfiler.enable");
  const stackDepth = mode === "V8 alone, 1 frame" ? 1 : 128;
  session.post("HeapProfiler.startSampling", { samplingInterval: interval, stackDepth } as object);
}

/** Milliseconds of CPU that a process spends on the work. */
function measure(mode: Mode, interval: number): number {
  const flags = `--v8-flags=${heapFlags.join(",")}`;
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ["run", "-A", flags, fileURLToPath(import.meta.url), "--child", mode, String(interval)],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(stderr);
  return Number(stdout);
}

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

function table(rounds: number): void {
  const modes: Mode[] = ["V8 alone, 1 frame", "V8 alone, 128 frames", "js-heap"];
  const runs: [Mode, number][] = [["untraced", 0]];
  for (const interval of intervals) for (const mode of modes) runs.push([mode, interval]);
  const times = runs.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    runs.forEach(([mode, interval], i) => times[i]!.push(measure(mode, interval)));
  }
  const medians = times.map(median), untraced = medians[0]!;
  console.log(`untraced: ${untraced.toFixed(0)} ms of CPU, median of ${rounds}\n`);
  console.log(`| interval | ${modes.map((mode) => `${mode} / untraced`).join(" | ")} | js-heap / V8 alone, 1 frame |`);
  console.log(`| ---: |${" ---: |".repeat(modes.length + 1)}`);
  for (const interval of intervals) {
    const found = modes.map((mode) => medians[runs.findIndex(([m, i]) => m === mode && i === interval)]!);
    const ratios = found.map((time) => (time / untraced).toFixed(2));
    console.log(`| ${interval} B | ${ratios.join(" | ")} | ${(found[2]! / found[0]!).toFixed(2)} |`);
  }
}

const [first = "5", mode, interval] = process.argv.slice(2);
if (first === "--child") {
  work(20); // compiled before it is measured
  begin(mode as Mode, Number(interval));
  const before = process.cpuUsage();
  work(4000);
  const { user, system } = process.cpuUsage(before);
  console.log(Math.round((user + system) / 1000));
  process.exit(0);
}
table(Number(first));
