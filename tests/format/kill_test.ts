import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { killDumps } from "./kill.ts";

test("a process that is killed while it dumps leaves a whole file", { timeout: 120_000 }, async () => {
  const report = await killDumps(12);
  assertEquals(report.old + report.new, 12);
  assert(report.interrupted > 0, "no kill struck in the middle of a dump");
});
