import { assertEquals } from "@std/assert";
import { test } from "node:test";
import { fuzz } from "./fuzz.ts";

test("mutated files end in the same data or in one error", () => {
  const report = fuzz(4000, 20_240_607);
  assertEquals(report.refused + report.same + report.other, 4000);
  // The three ends are all reached, so that the run shows something.
  assertEquals([report.refused > 3000, report.same > 50, report.other > 10], [true, true, true]);
  assertEquals(report.slowest < 2000, true, `the slowest reading took ${report.slowest} ms`);
});
