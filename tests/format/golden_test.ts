import { assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { readSnapshot } from "../../lib/format/reader.ts";
import { snapshotBytes } from "../../lib/format/writer.ts";
import { goldenCases, goldenFolder } from "./golden_cases.ts";
import { meaning } from "./snapshots.ts";

for (const { name, columns, metadata } of goldenCases) {
  const golden = new Uint8Array(readFileSync(`${goldenFolder}${name}.tracemalloc`));

  test(`the golden file ${name} is read`, () => {
    const read = readSnapshot(golden);
    assertEquals(meaning(read.columns), meaning(columns));
    assertEquals(read.metadata, metadata);
  });

  test(`the golden file ${name} is what the writer writes`, () => {
    assertEquals(snapshotBytes(columns, metadata), golden);
  });
}

test("every golden file has its case", () => {
  assertEquals(readdirSync(goldenFolder).sort(), goldenCases.map(({ name }) => `${name}.tracemalloc`).sort());
});
