/**
 * Hours in small: workers that allocate while the collector never rests, and what is traced goes back to nothing.
 * `$SOAK_MINUTES` makes it longer than some seconds; bun_soak_long.ts is ten minutes of each.
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { testedBuns } from "./buns.ts";
import { inFolder, root } from "./programs.ts";

const minutes = Number(process.env["SOAK_MINUTES"] ?? 0);

/** With collections all the time, calibration finds no counter of them in older versions, and says so. */
function pressure(name: string): Record<string, string> {
  return name === "Bun" ? { BUN_JSC_collectContinuously: "1" } : { BUN_JSC_slowPathAllocsBetweenGCs: "200" };
}

for (const { name, bun } of testedBuns()) {
  for (const way of ["start()", "run"] as const) {
    test(`${name}, ${way}: four workers, and collections all the time`, () => {
      inFolder((folder) => {
        const seconds = String(minutes > 0 ? minutes * 60 : 4), program = `${root}tests/tracer/bun_soak.ts`;
        const args = way === "run"
          ? [`${root}cli.ts`, "run", "-n", "5", "-o", `${folder}/snapshot`, program, seconds]
          : [program, seconds];
        const { status, signal, stdout, stderr } = spawnSync(bun, args, {
          encoding: "utf8",
          env: { ...process.env, ...pressure(name) },
        });
        assertEquals([status, signal], [0, null], stdout + stderr);
        const { made, snapshots, kept, before, after } = JSON.parse(stdout);
        assertEquals([before.blocks, kept.blocks, kept.other, after.blocks, after.bytes], [0, 400, 0, 0, 0], stdout);
        assert(made > 10_000 && snapshots > 3, stdout);
      });
    });
  }
}
