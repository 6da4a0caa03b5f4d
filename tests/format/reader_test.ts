import { assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { goldenCases, goldenFolder } from "./golden_cases.ts";
import { columnsOf, meaning, type PlainTrace } from "./snapshots.ts";

test("a reader in Python that knows only the specification reads the golden files", () => {
  const script = fileURLToPath(new URL("reader.py", import.meta.url));
  const paths = goldenCases.map(({ name }) => `${goldenFolder}${name}.tracemalloc`);
  const { stdout, stderr } = spawnSync("python3", [script, ...paths], { encoding: "utf8", maxBuffer: 2 ** 26 });
  assertEquals(stderr, "");
  const lines = stdout.trimEnd().split("\n");
  assertEquals(lines.length, goldenCases.length);
  for (const [i, { columns }] of goldenCases.entries()) {
    const { tracebackLimit, rows } = JSON.parse(lines[i]!) as {
      tracebackLimit: number;
      rows: [number, number, number, [string, number][], number | null][];
    };
    const traces = rows.map(([domain, size, count, frames, total]): PlainTrace => ({
      domain,
      size,
      count,
      frames,
      total,
    }));
    assertEquals(meaning(columnsOf(traces, tracebackLimit)), meaning(columns));
  }
});
