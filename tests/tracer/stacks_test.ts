import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { deno } from "./deno.ts";

const program = fileURLToPath(new URL("stacks.mjs", import.meta.url));
const positions = "--v8-flags=--detailed-line-info";

interface Result {
  readonly checks: number;
  readonly frames: number;
  readonly wrong: number;
  readonly unknown: number;
  readonly tiers: Readonly<Record<string, number>>;
  readonly examples: readonly string[];
}

function compareStacks(...flags: readonly string[]): Result {
  const { status, stdout, stderr } = spawnSync(deno, ["run", "-A", ...flags, program], { encoding: "utf8" });
  assertEquals(status, 0, stdout + stderr);
  return JSON.parse(stdout);
}

function assertExact({ checks, frames, wrong, unknown, examples }: Result): void {
  assertEquals(wrong, 0, examples.join("\n"));
  assert(checks > 5_000 && frames > 25_000, `only ${checks} checks of ${frames} frames`);
  assert(unknown <= frames * 0.005, `${unknown} of ${frames} frames are unknown`);
}

const tiers = ["interpreter", "baseline", "maglev", "turbofan", "inlined"];

function assertAllTiers(result: Result): void {
  for (const tier of tiers) assert((result.tiers[tier] ?? 0) > 100, `${tier}: only ${result.tiers[tier]} frames`);
}

test("frames are those of the engine's stack traces, in every tier, after a plain start()", () => {
  const result = compareStacks();
  assertExact(result);
  assertAllTiers(result);
});

test("frames are those of the engine's stack traces with the flags that `tracemalloc run` gives", () => {
  const result = compareStacks(positions);
  assertExact(result);
  assertAllTiers(result);
});

for (
  const flags of [
    "--stress-compaction",
    "--gc-interval=300",
    "--stress-scavenge=80",
    "--always-osr",
    "--no-maglev",
    "--no-sparkplug",
  ]
) {
  test(`frames are those of the engine's stack traces with ${flags}`, () => {
    assertExact(compareStacks(`${positions},${flags}`));
  });
}

test("code of a kind that calibration did not see is unknown, never wrong", () => {
  // With only one compiler nothing shows how its code is told from that of others.
  const result = compareStacks(`${positions},--no-sparkplug,--no-maglev`);
  assertEquals(result.wrong, 0, result.examples.join("\n"));
  assert(result.unknown > 0, "optimised code was decoded all the same: raise the bar of this test");
});

test("with frames that do not fit, tracing goes on without lines, and says so", () => {
  const source = `import { start, takeSnapshot } from ${JSON.stringify(new URL("../../mod.ts", import.meta.url).href)};
    start(); const kept = new Uint8Array(1999993);
    for (const t of takeSnapshot().traces) if (t.size === 1999993) console.log(String(t.traceback), kept.length);`;
  // Nothing is interpreted: calibration does not find what it looks for.
  const { status, stdout, stderr } = spawnSync(
    deno,
    ["run", "-A", `--config=${fileURLToPath(new URL("../../deno.json", import.meta.url))}`]
      .concat(`${positions},--always-sparkplug`, `data:application/typescript,${encodeURIComponent(source)}`),
    { encoding: "utf8" },
  );
  assertEquals(status, 0, stderr);
  assertEquals(stdout, "<native deno>:0 1999993\n");
  assert(
    /^tracemalloc: native frames only, for V8 .* is not laid out as expected: with --always-sparkplug .+\n$/.test(
      stderr,
    ),
    stderr,
  );
});
