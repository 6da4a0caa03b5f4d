/** More than anybody has foreseen: tracebacks, frames, and tables that are full. */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Snapshot } from "@x/tracemalloc";
import { deno, makeFolder, once, root, run } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

test("a million distinct tracebacks: each is its own", once, () => {
  const output = folder.path("paths.snapshot");
  const { status, stdout, stderr } = run(["-n", "25", "-o", output, path("paths.js")]);
  assertEquals([status, stdout], [0, "11\n"], stderr);
  const blocks = [...Snapshot.load(output).traces].filter(({ size }) => size > 1_000_000 && size < 2 ** 20 + 1_000_001);
  assertEquals(blocks.length, 11);
  for (const { size, traceback } of blocks) {
    const way = size - 1_000_001;
    const lines = Array.from({ length: 20 }, (_, level) => way >> (19 - level) & 1 ? 6 : 5);
    assertEquals([...traceback].map(({ lineno }) => lineno), [12, ...lines, 4, 9]);
  }
});

test("65,535 frames of a recursion that is 100,000 deep", once, () => {
  const output = folder.path("deep.snapshot");
  // Compilers allocate all the way down, and every block of theirs has that many frames, too.
  const flags = "-A --v8-flags=--stack-size=900000,--no-opt,--no-maglev,--no-sparkplug";
  const command = [
    `${root}cli.ts`,
    "run",
    "-n",
    "65535",
    "-o",
    output,
    "--runtime-flags",
    flags,
    path("deep.js"),
    "100000",
  ];
  const { status, stdout, stderr } = spawnSync(
    "sh",
    ["-c", 'ulimit -s 1000000 && exec "$@"', "sh", deno, "run", "-A", ...command],
    { encoding: "utf8" },
  );
  assertEquals([status, stdout], [0, "100000\n"], stderr);
  const [trace] = [...Snapshot.load(output).traces].filter(({ size }) => size === 1_999_923);
  const lines = Array.from(trace!.traceback, ({ lineno }) => lineno);
  assertEquals([lines.length, trace!.traceback.totalNframe], [65_535, null]);
  assertEquals(lines.pop(), 4);
  assert(lines.every((line) => line === 3));
});

test("tables that are full: what does not fit is said to be so, and nothing else is lost", once, () => {
  const program = folder.path("tables");
  const sources = readdirSync(`${root}shim`).filter((name) => name.endsWith(".c") && name !== "ends.c");
  const built = spawnSync(
    process.env["CC"] || "cc",
    "-std=c11 -D_GNU_SOURCE -O2 -Wall -Wextra -pthread -DTM_LINKED=1".split(" ").concat(
      sources.map((name) => `${root}shim/${name}`),
      [path("tables.c"), "-ldl", "-lm", "-o", program],
    ),
    { encoding: "utf8" },
  );
  assertEquals(built.status, 0, built.stderr);
  const { status, signal, stderr } = spawnSync(program, [], { encoding: "utf8" });
  assertEquals([status, signal, stderr], [0, null, ""]);
});
