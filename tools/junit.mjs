/** Counting the tests of a JUnit report, as Deno, Bun and Node write it. */
import { existsSync, readFileSync } from "node:fs";

/** What a report says; all zero where there is none, as after a crash. */
export function countTests(path) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  if (!existsSync(path)) return counts;
  const cases = readFileSync(path, "utf8").split("<testcase ").slice(1);
  const names = cases.map((text) => /\bname="([^"]*)"/.exec(text)?.[1] ?? "");
  cases.forEach((text, i) => {
    // Deno reports a suite as a test beside those in it.
    if (names.some((name) => name.startsWith(`${names[i]} &gt; `))) return;
    if (/<(failure|error)\b/.test(text)) counts.failed += 1;
    else if (/<skipped\b/.test(text)) counts.skipped += 1;
    else counts.passed += 1;
  });
  return counts;
}
