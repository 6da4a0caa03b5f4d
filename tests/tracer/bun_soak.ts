// @ts-nocheck: it runs on Bun alone, whose types the others do not have.
/**
 * Four workers and the main thread allocate and drop buffers, strings and functions for so many seconds, with snapshots all
 * the while; then all is dropped. Prints one line of JSON: how much was made, and what is left of it.
 */
import process from "node:process";
import { fileURLToPath } from "node:url";
import { isTracing, start, takeSnapshot } from "../../mod.ts";

const seconds = Number(process.argv[2] ?? 10);
const here = fileURLToPath(new URL("bun_soak_worker.ts", import.meta.url));

if (!isTracing()) start(5);
// Not imported by name, which would be the one of before.
const { Worker: Thread } = process.getBuiltinModule("node:worker_threads");

/** Bytes and blocks that the worker's file owns, in sizes that only its buffers have. */
function left(): { bytes: number; blocks: number; unknown: number; other: number } {
  const sums = { bytes: 0, blocks: 0, unknown: 0, other: 0 };
  for (const { size, traceback } of takeSnapshot().traces) {
    if (size < 9_001 || size > 9_201 || size % 2 === 0) continue;
    const { filename } = traceback.at(-1);
    sums.bytes += size;
    sums.blocks++;
    if (filename === "<unknown>") sums.unknown++;
    else if (filename !== here) sums.other++;
  }
  return sums;
}

const before = left();
const workers = Array.from({ length: 4 }, (_, i) => new Thread(here, { argv: [String(i), String(seconds)] }));
let most = 0, snapshots = 0;
const timer = setInterval(() => {
  most = Math.max(most, left().blocks);
  snapshots++;
}, 300);
const made = await Promise.all(
  workers.map((worker) => new Promise<number>((resolve) => worker.on("message", ({ made }) => resolve(made)))),
);
clearInterval(timer);
const kept = left();
await Promise.all(workers.map((worker) => worker.terminate()));
for (let i = 0; i < 30; i++) {
  Bun.gc(true);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
const total = made.reduce((sum, count) => sum + count, 0);
console.log(JSON.stringify({ made: total, snapshots, most, before, kept, after: left() }));
process.exit(0);
