import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { growFloat64, growUint32, growUint8 } from "../../lib/model/grow.ts";
import { PairTable } from "../../lib/model/pair_table.ts";

test("arrays grow to twice their length, or as far as they must, and only then", () => {
  const checkGrowth = <T extends Uint8Array | Uint32Array | Float64Array>(
    grow: (values: T, to: number) => T,
    three: T,
  ) => {
    assert(grow(three, 2) === three);
    assert(grow(three, 3) === three);
    assertEquals([...grow(three, 4)], [7, 8, 9, 0, 0, 0]);
    assertEquals([...grow(three, 7)], [7, 8, 9, 0, 0, 0, 0]);
    assertEquals(grow(three, 4).constructor, three.constructor);
  };
  checkGrowth(growUint8, Uint8Array.of(7, 8, 9));
  checkGrowth(growUint32, Uint32Array.of(7, 8, 9));
  checkGrowth(growFloat64, Float64Array.of(7, 8, 9));
});

test("pairs are numbered in the order of their first appearance", () => {
  const table = new PairTable();
  const pairs = Array.from({ length: 5000 }, (_, i) => [i % 70, 2 ** 32 - 1 - Math.floor(i / 70)] as const);
  // Twice: what was there before the table grew is found after it.
  for (const _ of [1, 2]) {
    for (const [number, pair] of pairs.entries()) assertEquals(table.intern(...pair), number);
  }
  assertEquals(table.length, pairs.length);
  assertEquals([...table.first.subarray(0, table.length)], pairs.map(([first]) => first));
  assertEquals([...table.second.subarray(0, table.length)], pairs.map(([, second]) => second));
  assertEquals([table.intern(0, 0), table.intern(0, 1), table.intern(1, 0), table.intern(0, 1)], [
    5000,
    5001,
    5002,
    5001,
  ]);
});
