/**
 * Records digests of CPython's answers, for the test to use where there is no python3.
 *
 *   deno run -A tests/conformance/record.ts
 */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { makeCases } from "./cases.ts";
import { askPython } from "./python.ts";

/** Which cases are recorded. */
export const recordedSeed = 20_26;
/** How many. */
export const recordedCases = 2000;
/** Where. */
export const recordedFile: URL = new URL("recorded.txt", import.meta.url);

/** A short digest of an answer: 16 bits are plenty to see a difference somewhere in 2,000 cases. */
export function digest(answer: string): string {
  return createHash("sha256").update(answer).digest("hex").slice(0, 4);
}

if (import.meta.main) {
  const python = askPython([...makeCases(recordedSeed, recordedCases)]);
  if (python === null) throw new Error("python3 is needed to record its answers");
  const digests = python.answers.map(digest).join("").match(/.{1,120}/g)!;
  const head =
    `# Digests of the answers of CPython ${python.version} to ${recordedCases} cases of seed ${recordedSeed}; written by record.ts`;
  writeFileSync(recordedFile, [head, ...digests, ""].join("\n"));
}
