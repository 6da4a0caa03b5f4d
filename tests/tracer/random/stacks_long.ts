/** `npm run test:long`: 100,000 allocations; `SEED=1` repeats a run. */
import { assert } from "@std/assert";
import process from "node:process";
import { test } from "node:test";
import { assertExact } from "./stacks.ts";

test("100,000 tracebacks of random programs are the engine's own stack traces, whole", () => {
  const first = Number(process.env["SEED"] ?? Math.floor(Math.random() * 2 ** 31));
  console.log(`SEED=${first}`);
  const totals = assertExact(Array.from({ length: 140 }, (_, i) => first + i), 1000, 150);
  console.log(totals);
  assert(totals.allocations >= 100_000, `only ${totals.allocations} allocations`);
});
