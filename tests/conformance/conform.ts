import { createHash } from "node:crypto";
import process from "node:process";
import { assertEquals } from "@std/assert";
import { join } from "@std/path";
import { sourceFiles } from "../../lib/host/source_files.ts";
import { useSourceFiles } from "../../lib/model/source_lines.ts";
import { answer } from "./answer.ts";
import { type Case, makeCases } from "./cases.ts";
import { askPython, sourcesFolder } from "./python.ts";

/** How many cases one python3 is asked at once. */
const batch = 5000;

// CPython resolves names against its working directory, which is this folder.
useSourceFiles({
  version: (filename) => sourceFiles.version(join(sourcesFolder, filename)),
  read: (filename) => sourceFiles.read(join(sourcesFolder, filename)),
});

/**
 * Asks CPython and this library the same random questions, as many as `TRACEMALLOC_CASES` says, of the seed
 * `TRACEMALLOC_SEED`, which is another one each time unless it is given.
 *
 * @param usually How many questions there are where the environment does not say.
 * @returns False where there is no python3.
 * @throws Where an answer is another one; the message says to which question.
 */
export function conform(usually: number): boolean {
  const seed = wholeNumber("TRACEMALLOC_SEED") ??
    createHash("sha256").update(String(Date.now())).digest().readUInt32LE();
  const count = wholeNumber("TRACEMALLOC_CASES") ?? usually;
  let version: string | undefined;
  const cases = makeCases(seed, count);
  for (let done = 0; done < count; done += batch) {
    const some = take(cases, batch);
    const python = askPython(some);
    if (python === null) return false;
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
  return true;
}

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
