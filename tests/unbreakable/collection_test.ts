/** Lines are right, or unknown, whatever V8's collector and compilers are made to do; and eight workers lose no block. */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Snapshot } from "@x/tracemalloc";
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

for (
  const flags of [
    "",
    "--stress-compaction",
    "--gc-interval=500",
    "--stress-scavenge=80",
    "--stress-incremental-marking",
  ]
) {
  test(`eight workers and finalisers that allocate${flags && `, with ${flags}`}`, once, () => {
    const output = folder.path("workers.snapshot"), program = path("workers.ts");
    const ended = run(["-o", output, program], { env: flags ? { DENO_V8_FLAGS: flags } : {} });
    assertEquals([ended.status, ended.signal, ended.stdout], [0, null, "320\n"], ended.stderr);
    assertEquals(ownersOf(2_000_003, output), Array(8 * 5).fill(`${program}:28`));
    assertEquals(ownersOf(1_000_003, output).filter((owner) => owner !== `${program}:20`), []);
    assert(ownersOf(1_000_003, output).length >= 8 * 40);
    for (const { size, traceback } of Snapshot.load(output).traces) {
      if (size === 40_009) assertEquals(String(traceback.at(-1)), `${program}:13`);
    }
  });
}
