/**
 * Loaded before a program, it starts tracing as the environment says: `TRACEMALLOC=NFRAME`, like Python's
 * `PYTHONTRACEMALLOC`. Without the variable, or with 0, it does nothing.
 *
 * ```sh
 * TRACEMALLOC=25 deno run -A --preload=lib/runtime/preload.ts app.ts
 * TRACEMALLOC=25 node --import=./lib/runtime/preload.ts app.ts
 * ```
 *
 * It and all it imports use no package: names of packages mean what the program's own configuration says.
 *
 * @module
 */
import process from "node:process";
import { UnsupportedError } from "../model/errors.ts";
import { start } from "../tracer/tracing.ts";

const limit = process.env["TRACEMALLOC"] ?? "";
const nframe = limit === "" ? 0 : /^[0-9]+$/.test(limit) ? Number(limit) : NaN;
if (!(nframe >= 0 && nframe <= 65535)) {
  fail(`TRACEMALLOC must be a number of frames from 1 to 65535, or 0 for no tracing; it is ${JSON.stringify(limit)}`);
}
if (nframe > 0) {
  try {
    start(nframe);
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    fail(error.message);
  }
}

function fail(message: string): never {
  console.error(`tracemalloc: ${message}`);
  process.exit(1);
}
