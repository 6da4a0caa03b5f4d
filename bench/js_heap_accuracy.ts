/**
 * How near the sizes of the js-heap domain are to what V8 says that its heap has grown by, for lines that own about
 * 50 MB each, all of one kind.
 *
 *   deno run -A bench/js_heap_accuracy.ts [MEGABYTES]        (50)
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Snapshot } from "../mod.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const program = `${root}tests/tracer/heap_kinds.ts`;
const kinds = [
  "literal",
  "instance",
  "closure",
  "array",
  "map",
  "set",
  "string",
  "json",
  "mapped",
  "filtered",
  "bigint",
]
  .concat("regexp", "promise", "date");
const intervals = [1024, 64 * 1024];
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-accuracy-"));

/** What V8 says that so many of a kind take, and what their line owns. */
function measure(kind: string, count: number, interval: number): { grown: number; owned: number } {
  const output = join(folder, "snapshot");
  const { stdout, stderr, status } = spawnSync(
    process.execPath,
    ["run", "-A", `${root}cli.ts`, "run", "--domains", "js-heap", "--js-interval", String(interval), "-o", output]
      .concat(program, String(count), kind),
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(stderr);
  const line = readFileSync(program, "utf8").split("\n").findIndex((text) => text.startsWith(`  ${kind}: (`)) + 1;
  const owner = Snapshot.load(output).statistics("lineno").find(({ traceback }) => traceback.at(0)!.lineno === line);
  return { grown: Number(stdout), owned: owner?.size ?? 0 };
}

const bytes = Number(process.argv[2] ?? 50) * 1e6;
try {
  console.log(`| a line that makes | V8's growth, MB |${intervals.map((r) => ` at ${r / 1024} KiB |`).join("")}`);
  console.log(`| --- | ---: |${" ---: |".repeat(intervals.length)}`);
  for (const kind of kinds) {
    const { grown } = measure(kind, 50_000, 1024);
    const count = Math.round(bytes / (grown / 50_000));
    const found = intervals.map((interval) => measure(kind, count, interval));
    const errors = found.map(({ grown, owned }) => `${((owned / grown - 1) * 100).toFixed(1)} %`);
    console.log(`| ${kind} | ${(found[0]!.grown / 1e6).toFixed(1)} | ${errors.join(" | ")} |`);
  }
} finally {
  rmSync(folder, { recursive: true });
}
