/**
 * With the shim at the path in its argument, which finds something of V8's layout wrong: says how calibration ends, and
 * whether frames and lines are right all the same. Prints lines of JSON; the last is of stacks.mjs, unless V8 is refused.
 */
import process from "node:process";
import { detectBackend } from "../../lib/runtime/detect.ts";
import { start, takeSnapshot } from "../../lib/tracer/tracing.ts";

const backend = detectBackend();
const shim = backend.openShim(process.argv[2]);
const { refusal, calibration } = backend.openEngine(shim);
console.log(JSON.stringify({ refusal, levels: calibration.get("levels")?.split(" ") ?? [] }));
if (refusal !== undefined) process.exit();

function allocate(size) {
  return new Uint8Array(size); // line 18
}

start(1);
const kept = Array.from({ length: 30_000 }, (_, i) => allocate(i < 29_900 ? 64 : 70_001));
const places = new Map();
for (const { size, traceback } of takeSnapshot().traces) {
  if (size === 70_001) places.set(String(traceback), (places.get(String(traceback)) ?? 0) + 1);
}
console.log(JSON.stringify({ places: Object.fromEntries(places), kept: kept.length }));
await import("./stacks.mjs?rounds=2000");
