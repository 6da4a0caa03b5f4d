/** The shim's frames on Node.js against the engine's own stack traces. */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { node } from "./node.ts";

const version = spawnSync(node, ["--version"], { encoding: "utf8" }).stdout;
const program = fileURLToPath(new URL("stacks.mjs", import.meta.url));

function compareStacks(...flags: readonly string[]): Record<string, number> {
  const { status, stdout, stderr } = spawnSync(node, [...flags, program], { encoding: "utf8" });
  assertEquals(status, 0, stdout + stderr);
  const { checks, frames, wrong, unknown, tiers, examples } = JSON.parse(stdout);
  assertEquals(wrong, 0, examples.join("\n"));
  assert(checks > 5_000 && frames > 25_000, `only ${checks} checks of ${frames} frames`);
  assert(unknown <= frames * 0.005, `${unknown} of ${frames} frames are unknown`);
  return tiers;
}

test("frames are those of the engine's stack traces, in every tier", () => {
  const tiers = compareStacks();
  // Node 22 does not use Maglev.
  const maglev = Number(/^v(\d+)/.exec(version)![1]) > 22 ? ["maglev"] : [];
  for (const tier of ["interpreter", "baseline", ...maglev, "turbofan", "inlined"]) {
    assert((tiers[tier] ?? 0) > 100, `${tier}: only ${tiers[tier]} frames`);
  }
});

for (const flag of ["--stress-compaction", "--gc-interval=300", "--no-maglev"]) {
  test(`frames are those of the engine's stack traces with ${flag}`, () => void compareStacks(flag));
}
