import { assert, assertEquals, assertThrows } from "@std/assert";
import { test } from "node:test";
import { countAllocated, fuzz, fuzzPickles } from "./fuzz.ts";

test("mutated files end in the same data or in one error, within bounded memory", () => {
  const report = fuzz(4000, 20_240_607);
  assertEquals(report.refused + report.same + report.other, 4000);
  // The three ends are all reached, so that the run shows something.
  assertEquals([report.refused > 3000, report.same > 50, report.other > 10], [true, true, true]);
  // As much as there is in the files was counted at least.
  assert(report.largest > 10_000, `${report.largest} bytes`);
});

test("mutated pickles likewise", () => {
  const report = fuzzPickles(4000, 20_240_607);
  assertEquals(report.refused + report.same + report.other, 4000);
  assertEquals([report.refused > 3000, report.other > 10, report.largest > 1000], [true, true, true]);
});

test("what is counted as memory is what was made, in whatever way", () => {
  const { allocated } = countAllocated(() => {
    const words = new Uint32Array(1000);
    words.subarray(10);
    return [words.slice(), words.map((word) => word), words.filter(() => true), Uint8Array.of(1), Uint8Array.from([1])];
  });
  assertEquals(allocated, 4 * 4000 + 2);
  assertThrows(() =>
    countAllocated(() => {
      throw new RangeError("mended all the same");
    }), RangeError);
  assertEquals(new Uint8Array(3).constructor, Uint8Array);
  assertEquals(countAllocated(() => 1).allocated, 0);
});
