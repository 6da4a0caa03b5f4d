import { assert } from "@std/assert";
import { test } from "node:test";
import { fuzz, fuzzPickles, type FuzzReport, reportText } from "./fuzz.ts";

const seed = Date.now() % 2 ** 31;

function check(what: string, count: number, report: FuzzReport): void {
  console.log(reportText(what, count, seed, report));
  assert(report.slowest < 2000, "a file took more than two seconds");
}

test("1,000,000 mutated snapshot files", () => check("snapshot files", 1_000_000, fuzz(1_000_000, seed)));

test("200,000 mutated pickles", () => check("pickles", 200_000, fuzzPickles(200_000, seed)));
