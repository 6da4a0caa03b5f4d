/**
 * What `start()` takes, in processes of their own: as it is, and where V8 keeps source positions already, as under
 * `tracemalloc run`. Prints milliseconds of the clock and of the process's threads together: the least, the middle and the
 * most of some runs, in turns.
 *
 *   deno run -A bench/start.ts [RUNS]
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

const library = JSON.stringify(new URL("../mod.ts", import.meta.url).href);
const program = `import { start } from ${library};
import process from "node:process";
const before = performance.now(), used = process.cpuUsage();
start();
const after = performance.now(), { user, system } = process.cpuUsage(used);
console.log(after - before, (user + system) / 1000);`;
const config = fileURLToPath(new URL("../deno.json", import.meta.url));

const ways: readonly (readonly [string, readonly string[]])[] = [
  ["start()", []],
  ["start(), positions kept", ["--v8-flags=--detailed-line-info"]],
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
  ["clock", "threads"].forEach((what, k) => {
    const sorted = times[i]!.map((measured) => measured[k]!).sort((a, b) => a - b);
    const [least, middle, most] = [sorted[0]!, sorted[runs >> 1]!, sorted.at(-1)!].map((time) => time.toFixed(1));
    console.log(
      `${name.padEnd(24)} ${what.padEnd(8)} ${least} ms at least, ${middle} middle, ${most} at most (${runs})`,
    );
  });
});
