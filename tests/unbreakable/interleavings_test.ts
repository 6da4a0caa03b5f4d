/**
 * The tables' locking, checked in every order that a few threads can take their steps in (tests/unbreakable/interleave.h says
 * how). `INTERLEAVE_BOUND=2` is the long form: every two forced switches and delayed stores, and not one; some 20 minutes.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync, type SpawnSyncReturns } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { makeFolder, once, root } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const compiler = process.env["CC"] || "cc";
const bound = process.env["INTERLEAVE_BOUND"] ?? "1";

const flags = "-std=c11 -D_GNU_SOURCE -O1 -g -fno-builtin -fno-pie -DTM_LINKED=1".split(" ");
/**
 * Only the compiler's part of the sanitizer: what it calls is interleave.c. Directories are small, to be gone through often,
 * and threads are steady, and have a
 * nursery, from their second block on.
 */
const checked = [
  ..."-fsanitize=thread -DTM_ADDRESS_BITS=16 -DLEAF_BITS=2 -DTM_FIRST_ROWS=16 -DTM_STEADY_CALLS=1 -DTM_NURSERY_BITS=0 -DTM_NURSERY_AFTER=1"
    .split(" "),
  ...["memcpy", "memset", "pthread_atfork"].map((name) => `-D${name}=interleave_${name.replace("pthread_", "")}`),
];

function compile(args: readonly string[]): void {
  const { error, status, stderr } = spawnSync(compiler, args, { encoding: "utf8" });
  assertEquals([error, status], [undefined, 0], stderr);
}

/** gcc and clang say differently that volatile is to be told from other accesses. */
function buildChecker(): string {
  const isClang = spawnSync(compiler, ["--version"], { encoding: "utf8" }).stdout.includes("clang");
  const ofCompiler = isClang
    ? ["-mllvm", "-tsan-distinguish-volatile"]
    : ["--param", "tsan-distinguish-volatile=1", "-Wno-tsan"];
  const objects = folder.path("objects");
  mkdirSync(objects);
  const object = (name: string) => `${objects}/${name}.o`;
  const shim = readdirSync(`${root}shim`).filter((name) =>
    name.endsWith(".c") && !["platform_linux.c", "ends.c"].includes(name)
  );
  for (const name of shim) {
    compile([...flags, ...checked, ...ofCompiler, "-c", `${root}shim/${name}`, "-o", object(name)]);
  }
  const own = ["interleave.c", "interleavings.c"];
  for (const name of own) compile([...flags, "-c", `${root}tests/unbreakable/${name}`, "-o", object(name)]);
  const program = folder.path("interleavings");
  compile([...[...shim, ...own].map(object), "-no-pie", "-ldl", "-lm", "-pthread", "-o", program]);
  return program;
}

let program: string | undefined;

function check(...args: readonly string[]): SpawnSyncReturns<string> {
  program ??= buildChecker();
  return spawnSync(program, args, { encoding: "utf8", maxBuffer: 2 ** 28 });
}

test(`no interleaving of a few calls breaks the tables (bound ${bound})`, once, () => {
  let scenarios = 0;
  for (;; scenarios++) {
    const { status, stdout, stderr } = check(String(scenarios), bound);
    if (status === 4) break;
    assertEquals(status, 0, stderr);
    assertMatch(stdout, /^.*: \d+ executions, all there are\n$/);
    console.log(stdout.trim());
  }
  assert(scenarios > 10);
});

for (const fault of ["barrier", "order", "locks"]) {
  test(`the checker finds what is broken on purpose: ${fault}`, once, () => {
    // Stop and start, beside a thread that allocates.
    const { status, stderr } = check("4", "2", "30000", fault);
    assertEquals(status, 1);
    assertMatch(stderr, /nothing orders two accesses|given back|deadlock|no order of the calls|blocks of size/);
  });
}
