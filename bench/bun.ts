/**
 * What tracing costs on Bun: whole programs untraced, traced and sampled, in turns.
 *
 *   bun bench/bun.ts [ROUNDS] [PROGRAM…]        (7 rounds; strings, buffers, json, objects, server)
 *
 * A run is a process of its own that warms up, and then takes its processor time, that of all its threads, and the most
 * memory it had. Rounds take the ways in turn, so that what else the machine does falls on all of them. Of each way stand
 * the median time, the median of its ratios to the untraced run of the same round, and what is to be kept below; then the
 * median of the most memory, in MiB.
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../lib/runtime/shim_file.ts";

const ways = ["untraced", "1 frame", "25 frames", "4 KiB samples", "512 KiB samples"];
const [rounds = "7", ...named] = process.argv.slice(2);
const programs = named.length ? named : ["strings", "buffers", "json", "objects", "server"];
const program = fileURLToPath(new URL("bun/program.mjs", import.meta.url));
const bun = "Bun" in globalThis
  ? process.execPath
  : fileURLToPath(new URL("../node_modules/.bin/bun", import.meta.url));
/** The most that tracing may cost, times untraced: every block, one block every 4 KiB. */
const bars: Record<string, readonly [full: number, sampled: number]> = {
  strings: [1.5, 1.1],
  buffers: [1.5, 1.1],
  server: [1.05, 1.05],
};

ensureShim();

function run(name: string, way: string): [milliseconds: number, mib: number] {
  const { status, stdout, stderr } = spawnSync(bun, [program, name, way], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${name}, ${way}: ${stderr}`);
  const [milliseconds, mib] = stdout.split(" ").map(Number);
  return [milliseconds!, mib!];
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

console.log(`Bun ${spawnSync(bun, ["--version"], { encoding: "utf8" }).stdout.trim()}, ${rounds} rounds`);
console.log(["", ...ways].map((cell) => cell.padEnd(26)).join("").trimEnd());
for (const name of programs) {
  const runs = ways.map((): [number, number][] => []);
  for (let round = 0; round < Number(rounds); round++) ways.forEach((way, i) => runs[i]!.push(run(name, way)));
  const cells = ways.map((way, i) => {
    const of = runs[i]!, milliseconds = median(of.map(([time]) => time)).toFixed(0);
    const ratio = median(of.map(([time], round) => time / runs[0]![round]![0]));
    const bar = way.endsWith("KiB samples") ? bars[name]?.[1] : bars[name]?.[0];
    const judged = i === 0
      ? ""
      : ` ${ratio.toFixed(2)}${bar === undefined ? "" : ratio <= bar ? ` <= ${bar}` : ` > ${bar}`}`;
    return `${milliseconds} ms${judged}, ${median(of.map(([, mib]) => mib)).toFixed(0)} MiB`;
  });
  console.log([name, ...cells].map((cell) => cell.padEnd(26)).join("").trimEnd());
}
