/**
 * CPython and this library must answer random questions alike, text for text.
 *
 *   TRACEMALLOC_SEED=7 TRACEMALLOC_CASES=500000 npm test -- --only conformance
 *
 * Digests of CPython's answers to the cases of one seed are recorded (record.ts) for where there is no python3.
 */
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { answer } from "./answer.ts";
import { makeCases } from "./cases.ts";
import { conform } from "./conform.ts";
import { digest, recordedCases, recordedFile, recordedSeed } from "./record.ts";

test("random cases are answered as CPython answers them", { timeout: 600_000 }, (t) => {
  if (!conform(20_000)) t.skip("there is no python3: only recorded answers are used");
});

test("cases are answered as CPython's recorded answers", () => {
  const recorded = readFileSync(recordedFile, "utf8").split("\n").filter((line) => !line.startsWith("#")).join("");
  const own = Array.from(makeCases(recordedSeed, recordedCases), (given) => digest(answer(given)));
  const wrong = own.flatMap((one, i) => one === recorded.slice(i * one.length, (i + 1) * one.length) ? [] : [i]);
  assertEquals(recorded.length, own.join("").length);
  assertEquals(wrong, [], `cases of seed ${recordedSeed} whose answers differ`);
});
