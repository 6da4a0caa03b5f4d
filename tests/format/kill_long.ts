import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { killDumps } from "./kill.ts";

test("200 processes that are killed while they dump leave a whole file each", async () => {
  const report = await killDumps(200);
  console.log(
    `kill: ${report.interrupted} in the middle; ${report.old} times the old file, ${report.new} times a new one`,
  );
  assertEquals(report.old + report.new, 200);
  assert(report.interrupted > 50, `only ${report.interrupted} kills struck in the middle of a dump`);
});
