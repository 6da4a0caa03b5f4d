/**
 * CPython and this library must answer random questions alike, text for text.
 *
 *   TRACEMALLOC_SEED=7 TRACEMALLOC_CASES=500000 npm test -- --only conformance
 *
 * Digests of CPython's answers to the cases of one seed are recorded (record.ts) for where there is no python3.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import process from "node:process";
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { sourceFiles } from "../../lib/host/source_files.ts";
import { useSourceFiles } from "../../lib/model/source_lines.ts";
import { answer } from "./answer.ts";
import { type Case, makeCases } from "./cases.ts";
import { askPython, sourcesFolder } from "./python.ts";
import { digest, recordedCases, recordedFile, recordedSeed } from "./record.ts";

/** How many cases one python3 is asked at once. */
const batch = 5000;

// CPython resolves names against its working directory, which is this folder.
useSourceFiles({
  version: (filename) => sourceFiles.version(join(sourcesFolder, filename)),
  read: (filename) => sourceFiles.read(join(sourcesFolder, filename)),
});

test("random cases are answered as CPython answers them", { timeout: 600_000 }, (t) => {
  const seed = wholeNumber("TRACEMALLOC_SEED") ??
    createHash("sha256").update(String(Date.now())).digest().readUInt32LE();
  const count = wholeNumber("TRACEMALLOC_CASES") ?? 20_000;
  let version: string | undefined;
  const cases = makeCases(seed, count);
  for (let done = 0; done < count; done += batch) {
    const some = take(cases, batch);
    const python = askPython(some);
    if (python === null) {
      t.skip("there is no python3: only recorded answers are used");
      return;
    }
    version = python.version;
    some.forEach((given, i) => {
      // Compared as texts first: parsing is for the message alone.
      const own = answer(given);
      if (own !== python.answers[i]) {
        const what = `case ${done + i} of seed ${seed}: ${JSON.stringify(given)}`;
        assertEquals(JSON.parse(own), JSON.parse(python.answers[i]!), what);
        assertEquals(own, python.answers[i], what);
      }
    });
  }
  console.log(`conformance: ${count} cases of seed ${seed}, answered as CPython ${version} does`);
});

test("cases are answered as CPython's recorded answers", () => {
  const recorded = readFileSync(recordedFile, "utf8").split("\n").filter((line) => !line.startsWith("#")).join("");
  const own = Array.from(makeCases(recordedSeed, recordedCases), (given) => digest(answer(given)));
  const wrong = own.flatMap((one, i) => one === recorded.slice(i * one.length, (i + 1) * one.length) ? [] : [i]);
  assertEquals(recorded.length, own.join("").length);
  assertEquals(wrong, [], `cases of seed ${recordedSeed} whose answers differ`);
});

function take(cases: Generator<Case>, count: number): Case[] {
  const some: Case[] = [];
  while (some.length < count) {
    const { value, done } = cases.next();
    if (done) break;
    some.push(value);
  }
  return some;
}

function wholeNumber(name: string): number | undefined {
  const text = process.env[name];
  if (text === undefined) return undefined;
  if (!/^\d+$/.test(text)) throw new Error(`${name} must be a whole number, not ${text}`);
  return Number(text);
}
