/**
 * What tracing costs on Bun: whole programs untraced, traced and sampled, in turns. Beside the median of each way stands
 * how it compares with untraced: the medians' ratio, and that of the best runs, which a busy machine disturbs least.
 *
 *   bun bench/bun.ts [ROUNDS] [PROGRAM…]        (7 rounds; strings, buffers, json, objects, server)
 *
 * A run is a process of its own that warms up, and then takes its processor time, that of all its threads. Rounds take the ways in turn, so that what else the
 * machine does falls on all of them.
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
ensureShim();

function milliseconds(name: string, way: string): number {
  const { status, stdout, stderr } = spawnSync(bun, [program, name, way], { encoding: "utf8" });
  if (status !== 0) throw new Error(`${name}, ${way}: ${stderr}`);
  return Number(stdout);
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

console.log(`Bun ${spawnSync(bun, ["--version"], { encoding: "utf8" }).stdout.trim()}, ${rounds} rounds`);
console.log(["", ...ways].map((cell) => cell.padStart(18)).join(""));
for (const name of programs) {
  const times = ways.map((): number[] => []);
  for (let round = 0; round < Number(rounds); round++) {
    ways.forEach((way, i) => times[i]!.push(milliseconds(name, way)));
  }
  const cells = times.map((of) => {
    const best = Math.min(...of) / Math.min(...times[0]!);
    return `${median(of).toFixed(0)} ms ${(median(of) / median(times[0]!)).toFixed(2)} ${best.toFixed(2)}`;
  });
  console.log([name, ...cells].map((cell) => cell.padStart(18)).join(""));
}
