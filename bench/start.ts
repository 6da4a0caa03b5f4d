/**
 * What `start()` takes, step by step, in processes of their own: as it is, and where V8 keeps source positions already, as
 * under `tracemalloc run`; and then what the domain `js-heap` takes, which is not in the first line. Prints milliseconds by the clock, and of the self-check by the CPU, too (of all threads: V8
 * compiles beside it): the least, the middle and the most of some runs, in turns. V8's profiler is what keeps positions.
 *
 *   deno run -A bench/start.ts [RUNS]
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { heapFlags } from "../lib/runtime/v8_flags.ts";

const library = JSON.stringify(new URL("../lib/runtime/detect.ts", import.meta.url).href);
const program = `import { detectBackend } from ${library};
import { Session } from "node:inspector";
import process from "node:process";
let profiler = 0, profilerUsed = 0;
const cpu = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};
for (const name of ["connect", "post"]) {
  const real = Session.prototype[name];
  Session.prototype[name] = function (...all) {
    const before = performance.now(), used = cpu();
    real.apply(this, all);
    profiler += performance.now() - before;
    profilerUsed += cpu() - used;
  };
}
const begun = performance.now();
const backend = detectBackend(), shim = backend.openShim();
const loaded = performance.now(), used = cpu();
const engine = backend.openEngine(shim);
const checked = performance.now(), check = cpu() - used - profilerUsed;
shim.start(1, 0);
const started = performance.now();
if (engine.refusal !== undefined) throw new Error(engine.refusal);
const profiled = profiler;
engine.sampleHeap(8192, false, (why) => { throw new Error(why); });
const sampled = performance.now();
console.log(started - begun, loaded - begun, profiled, checked - loaded - profiled, check, started - checked, sampled - started);`;
const columns = ["all", "load the shim", "V8's profiler", "self-check", "self-check, CPU", "hook in", "and js-heap"];
const config = fileURLToPath(new URL("../deno.json", import.meta.url));

const ways: readonly (readonly [string, readonly string[]])[] = [
  ["start()", []],
  ["start(), positions kept", ["--v8-flags=--detailed-line-info"]],
  ["start(), as run's js-heap", [`--v8-flags=${heapFlags.join(",")}`]],
];

function measure(flags: readonly string[]): number[] {
  const args = ["run", "-A", "--no-check", `--config=${config}`, ...flags];
  const source = `data:application/typescript,${encodeURIComponent(program)}`;
  const { status, stdout, stderr } = spawnSync(process.execPath, [...args, source], { encoding: "utf8" });
  if (status !== 0 || stderr !== "") throw new Error(`start() fails: ${stderr}`);
  return stdout.trim().split(" ").map(Number);
}

const runs = Number(process.argv[2] ?? 20);
if (!Number.isInteger(runs) || runs < 1) {
  console.error(`start: RUNS must be a whole number from 1 on, not ${process.argv[2]}`);
  process.exit(2);
}
const times = ways.map((): number[][] => []);
for (let run = 0; run < runs; run++) ways.forEach(([, flags], i) => times[i]!.push(measure(flags)));
ways.forEach(([name], i) => {
  columns.forEach((what, k) => {
    const sorted = times[i]!.map((measured) => measured[k]!).sort((a, b) => a - b);
    const [least, middle, most] = [sorted[0]!, sorted[runs >> 1]!, sorted.at(-1)!].map((time) => time.toFixed(1));
    console.log(
      `${name.padEnd(26)} ${what.padEnd(15)} ${least} ms at least, ${middle} middle, ${most} at most (${runs})`,
    );
  });
});
