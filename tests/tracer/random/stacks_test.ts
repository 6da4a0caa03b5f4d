import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { assertExact } from "./stacks.ts";

/** Seeds that found mistakes. */
const found = [5, 11, 13, 23, 32, 34, 37, 38, 43, 3077];

test("tracebacks of random programs are the engine's own stack traces, whole", () => {
  const { allocations, tiers } = assertExact([...found, Math.floor(Math.random() * 2 ** 31)], 400, 60);
  assert(allocations >= 2000, `only ${allocations} allocations`);
  const seen = Object.entries(tiers).filter(([, frames]) => frames > 500).map(([tier]) => tier);
  assertEquals(seen, ["interpreter", "baseline", "maglev", "turbofan", "inlined"]);
});
