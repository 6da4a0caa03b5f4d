import { assert, assertEquals } from "@std/assert";
import { test } from "node:test";
import { foldRows, type TraceRows } from "../../lib/model/fold_rows.ts";

/** Rows by number, from functions of it. */
function rows(length: number, make: (i: number) => [domain: number, size: number, count: number, traceback: number]) {
  const made = Array.from({ length }, (_, i) => make(i));
  return {
    domain: Uint32Array.from(made, (row) => row[0]),
    size: Float64Array.from(made, (row) => row[1]),
    count: Float64Array.from(made, (row) => row[2]),
    traceback: Uint32Array.from(made, (row) => row[3]),
  };
}

/** The same in the plainest way: whole counts added up by key, others kept. */
function plainly({ domain, size, count, traceback }: TraceRows): string[] {
  const whole = new Map<string, number>();
  const others: string[] = [];
  for (let i = 0; i < size.length; i++) {
    const key = [traceback[i], domain[i], size[i]].join(" ");
    if (Number.isInteger(count[i])) whole.set(key, (whole.get(key) ?? 0) + count[i]!);
    else others.push(`${key}: ${count[i]}`);
  }
  return [...whole].map(([key, sum]) => `${key}: ${sum}`).concat(others).sort();
}

function check(before: TraceRows): TraceRows {
  const copy = structuredClone(before);
  const after = foldRows(before);
  assertEquals(before, copy, "what was given must stay as it is");
  assertEquals(plainly(after), plainly(before));
  for (let i = 1; i < after.size.length; i++) {
    const order = after.traceback[i]! - after.traceback[i - 1]! || after.domain[i]! - after.domain[i - 1]! ||
      after.size[i]! - after.size[i - 1]!;
    assert(order > 0 || order === 0 && !Number.isInteger(after.count[i]), `row ${i} is out of order`);
  }
  assert(foldRows(after) === after, "folded rows are given back as they are");
  return after;
}

const scatter = (i: number, range: number) => (Math.imul(i, 0x9e3779b1) >>> 0) % range;
const mixed = (i: number, range: number) => (Math.imul(i ^ i >>> 7, 0x85ebca6b) >>> 5) % range;

test("nothing and one", () => {
  check(rows(0, () => [0, 0, 0, 0]));
  check(rows(1, () => [1, 2, 3, 4]));
});

test("one row at the wrong place is enough", () => {
  const disorders: [domain: number, size: number, count: number, traceback: number][][] = [
    [[0, 8, 1, 1], [0, 8, 1, 0]],
    [[1, 8, 1, 0], [0, 8, 1, 0]],
    [[0, 16, 1, 0], [0, 8, 1, 0]],
    [[0, 8, 1, 2 ** 18], [0, 8, 1, 0], [0, 8, 1, 2 ** 18 - 1]],
    // In order, and yet not folded.
    [[0, 8, 1, 0], [0, 8, 1, 0]],
    [[0, 8, 0.5, 0], [0, 8, 2, 0], [0, 16, 1, 0]],
  ];
  for (const some of disorders) check(rows(some.length, (i) => some[i]!));
  // Whichever of two comes first when rows are dealt out, it can be the one with the greatest number.
  for (let most = 1; most < 20; most++) check(rows(2, (i) => [0, 8, 1, i === 0 ? most : 0]));
});

test("counts are added up only as far as they stay exact", () => {
  const { count } = foldRows(rows(3, (i) => [0, 8, [Number.MAX_SAFE_INTEGER, 5, 6][i]!, 0]));
  assertEquals([...count].sort((a, b) => a - b), [11, Number.MAX_SAFE_INTEGER]);
  for (const counts of [[Number.MAX_SAFE_INTEGER, 5], [5, Number.MAX_SAFE_INTEGER]]) {
    const folded = rows(2, (i) => [0, 8, counts[i]!, 0]);
    assert(foldRows(folded) === folded);
  }
  assertEquals([...foldRows(rows(2, (i) => [0, 8, [2 ** 53 - 6, 5][i]!, 0])).count], [Number.MAX_SAFE_INTEGER]);
});

test("counts that are not whole stay by themselves", () => {
  check(rows(5000, (i) => [0, mixed(i, 5), i % 3 === 0 ? 0.5 : 2, mixed(i, 4)]));
  check(rows(5000, (i) => [0, mixed(i, 300), i % 3 === 0 ? 0.5 : 2, 0]));
});

test("few different rows among many", () => {
  const after = check(rows(200_000, (i) => [0, 16 * mixed(i, 7), 1, mixed(i, 31)]));
  assert(after.size.length <= 7 * 31);
});

test("domains and tracebacks with great numbers", () => {
  check(rows(3000, (i) => [mixed(i, 2) === 0 ? 5 : 0xffff_fff0, mixed(i, 3), 1, mixed(i, 200_000)]));
  check(rows(3000, (i) => [mixed(i, 2 ** 27), 8, 1, mixed(i + 1, 9)]));
});

test("columns in which only the first value is another one", () => {
  check(rows(4, (i) => [i === 0 ? 1 : 0, 8, 1, 3 - i]));
  check(rows(4, (i) => [0, i === 0 ? 16 : 8, 1, 3 - i]));
  check(rows(4, (i) => [0, 8, i === 0 ? 2 : 1, 3 - i]));
});

test("sizes of more than 32 bits are in order", () => {
  check(rows(3000, (i) => [0, 2 ** 32 * mixed(i, 5) + mixed(i + 1, 7), 1, mixed(i, 2)]));
  check(rows(3000, (i) => [0, 2 ** 40 * mixed(i, 8000), 1, 0]));
});

test("rows that are alike but far from each other", () => {
  assertEquals(check(rows(120_000, (i) => [0, 8, 1, i % 40_000])).size.length, 40_000);
});

test("many different rows", () => {
  check(rows(150_000, (i) => [0, scatter(i, 2 ** 32), 1, mixed(i, 5000)]));
  check(rows(20_000, (i) => [mixed(i, 3), scatter(i, 2 ** 32), 1, mixed(i, 5000)]));
  check(rows(150_000, (i) => [mixed(i, 3), 2 ** 33 + scatter(i, 1000), 1 + i % 2, mixed(i, 40)]));
});
