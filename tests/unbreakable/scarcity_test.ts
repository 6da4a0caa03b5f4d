/** More than anybody has foreseen: tracebacks, frames, and tables that are full; less memory than the program asks for. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { after, test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { Snapshot } from "@x/tracemalloc";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { compile, deno, makeFolder, once, ownersOf, root, run, runtime, runtimeFlags } from "./run.ts";

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

test("allocations that fail: the program sees what it sees untraced, and sums stay exact", once, () => {
  const program = compile("failing.c", folder.path("failing"), "-ldl"), shim = ensureShim();
  const call = (args: readonly string[], env: Readonly<Record<string, string>> = {}) => {
    const { status, signal, stdout, stderr } = spawnSync(program, args, {
      encoding: "utf8",
      env: { ...process.env, ...env },
    });
    assertEquals([status, signal, stderr], [0, null, ""]);
    return stdout;
  };
  const untraced = call([]);
  assertMatch(untraced, /^malloc\(much\): 0, errno 12$/m);
  assertEquals(call([], { LD_PRELOAD: shim, TRACEMALLOC_PRELOAD: "1" }), untraced);
  assertEquals(call([shim]), untraced);
});

/** A cgroup with so little memory, and how processes get into it; or why there is none. */
function makeCgroup(bytes: number): { processes: string; remove(): void } | string {
  const [above, limit] = existsSync("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    ? ["/sys/fs/cgroup/memory", "memory.limit_in_bytes"]
    : ["/sys/fs/cgroup", "memory.max"];
  const cgroup = `${above}/tracemalloc-${process.pid}`, remove = () => rmdirSync(cgroup);
  try {
    mkdirSync(cgroup);
  } catch (error) {
    return `no cgroup can be made here: ${error}`;
  }
  if (!existsSync(`${cgroup}/${limit}`)) {
    remove();
    return `a cgroup that is made here has no ${limit}`;
  }
  writeFileSync(`${cgroup}/${limit}`, String(bytes));
  // No memory on a disk instead, as either version says it.
  for (const name of ["memory.swap.max", "memory.swappiness"]) {
    if (existsSync(`${cgroup}/${name}`)) writeFileSync(`${cgroup}/${name}`, "0");
  }
  return { processes: `${cgroup}/cgroup.procs`, remove };
}

function inCgroup(what: string, work: (processes: string) => void): void {
  test(what, (context: TestContext) => {
    const cgroup = makeCgroup(200 * 2 ** 20);
    if (typeof cgroup === "string") return context.skip(cgroup);
    try {
      work(cgroup.processes);
    } finally {
      cgroup.remove();
    }
  });
}

const hungry = path("hungry.ts");

inCgroup("a cgroup with little memory, of which there is enough", (processes) => {
  const output = folder.path("enough.snapshot");
  const { status, stdout, stderr } = run(["-o", output, hungry, processes, "20"]);
  assertEquals([status, stdout], [0, "20\n"], stderr);
  assertEquals(ownersOf(1_999_937, output), Array(20).fill(`${hungry}:15`));
});

inCgroup(
  "a cgroup whose memory runs out: the program is killed as it is untraced, and its last snapshot is there",
  (processes) => {
    const untraced = spawnSync(runtime, [...runtimeFlags, hungry, processes, "0"], { encoding: "utf8" });
    const output = folder.path("out.snapshot");
    const traced = run(["-o", output, "--every", "20MiB", hungry, processes, "0"]);
    assertEquals([untraced.signal, traced.signal], ["SIGKILL", "SIGKILL"], traced.stderr);
    assertMatch(traced.stderr, /^The program was killed: this is the last snapshot/m);
    const count = ownersOf(1_999_937, output).length;
    assert(count >= 10, `${count} blocks`);
  },
);
