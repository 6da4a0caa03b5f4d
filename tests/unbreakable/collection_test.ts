/** Lines are right, or unknown, whatever V8's collector and compilers are made to do; and eight workers lose no block. */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { deno, makeFolder, once, ownersOf, run } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

/** Those that tests/tracer/stacks_test.ts does not have. */
const collections = [
  "--stress-incremental-marking",
  "--stress-marking=50",
  "--stress-concurrent-allocation",
  "--compact-on-every-full-gc",
  "--gc-global,--gc-interval=1000",
  "--single-threaded-gc",
  "--minor-ms",
  "--semi-space-growth-factor=1",
  "--stress-flush-code,--flush-bytecode",
  "--stress-lazy-source-positions",
  "--stress-maglev",
  "--deopt-every-n-times=1000",
];

for (const flags of collections) {
  test(`frames are those of the engine's stack traces with ${flags}`, once, () => {
    const { status, signal, stdout, stderr } = spawnSync(
      deno,
      [
        "run",
        "-A",
        `--v8-flags=--no-enable-lazy-source-positions,--detailed-line-info,${flags}`,
        path("../tracer/stacks.mjs"),
      ],
      { encoding: "utf8" },
    );
    assertEquals([status, signal], [0, null], stderr);
    const { checks, frames, wrong, unknown, examples } = JSON.parse(stdout);
    assertEquals(wrong, 0, examples.join("\n"));
    // On a machine that is busy, calibration may not have met a tier: its frames are unknown then, and counted.
    assert(checks > 5000 && unknown < frames / 4, stdout);
  });
}

const onBun = "Bun" in globalThis;
/** What makes the engine collect when it would not; none, first. */
const settings: readonly Readonly<Record<string, string>>[] = onBun
  ? [{}, { BUN_JSC_collectContinuously: "1" }]
  : [{}].concat(
    ["--stress-compaction", "--gc-interval=500", "--stress-scavenge=80", "--stress-incremental-marking"].map((
      flags,
    ) => ({
      DENO_V8_FLAGS: flags,
    })),
  );

for (const env of settings) {
  const [how = "of its own accord"] = Object.entries(env).map((setting) => setting.join("="));
  test(`eight workers and finalisers that allocate, while the engine collects ${how}`, () => {
    const output = folder.path("workers.snapshot"), program = path("workers.ts");
    const ended = run(["-o", output, program], { env });
    assertEquals([ended.status, ended.signal, ended.stdout], [0, null, "320\n"], ended.stderr);
    // Bun's workers name their lines in turns of their event loops, for which the program's end does not wait.
    const lines = (size: number, line: number) =>
      ownersOf(size, output).map((owner) => onBun && owner === "<unknown>:0" ? `${program}:${line}` : owner);
    // And what they keep goes with them.
    if (!onBun) assertEquals(lines(2_000_003, 31), Array(8 * 5).fill(`${program}:31`));
    assertEquals(lines(1_000_003, 23).filter((owner) => owner !== `${program}:23`), []);
    assert(lines(1_000_003, 23).length >= 8 * 40);
    assertEquals(lines(40_009, 16).filter((owner) => owner !== `${program}:16`), []);
  });
}
