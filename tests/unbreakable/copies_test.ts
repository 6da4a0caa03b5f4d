/** More than one copy of the library, and of the shim, in a process. */
import { assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { compile, makeFolder, once, root, runtime, runtimeFlags } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const program = fileURLToPath(new URL("copies.ts", import.meta.url));

/** A copy of the library with a shim of its own, which is built already. */
function copyLibrary(name: string): string {
  const copy = folder.path(name),
    shim = ensureShim(),
    builds = join(copy, ".build/shim", dirname(shim).split("/").at(-1)!);
  mkdirSync(builds, { recursive: true });
  for (const part of ["lib", "shim", "mod.ts", "schema", "vendor", "deno.json", "package.json", "tsconfig.json"]) {
    cpSync(`${root}${part}`, join(copy, part), { recursive: true });
  }
  for (const file of readdirSync(dirname(shim))) copyFileSync(join(dirname(shim), file), join(builds, file));
  symlinkSync(`${root}node_modules`, join(copy, "node_modules"));
  return copy;
}

function run(...args: readonly string[]) {
  return spawnSync(runtime, [...runtimeFlags, ...args], {
    encoding: "utf8",
    cwd: root,
    env: { ...process.env, NO_COLOR: "1" },
  });
}

const copy = copyLibrary("copy");

test("two copies of the library in a process are one tracer", () => {
  const { status, stdout, stderr } = run(program, copy);
  assertEquals([status, stdout, stderr], [0, `${program}:34\n${program}:44\n`, ""]);
});

test("and so they are under run", () => {
  const { status, stdout, stderr } = run(`${root}cli.ts`, "run", "-o", folder.path("copies.snapshot"), program, copy);
  assertEquals([status, stdout], [0, `${program}:34\n${program}:44\n`], stderr);
});

test("a copy that cannot join says so", () => {
  const older = copyLibrary("older"), abi = join(older, "lib/tracer/abi.ts");
  const text = readFileSync(abi, "utf8");
  writeFileSync(abi, text.replace(/abiVersion = \d+/, "abiVersion = 1"));
  writeFileSync(
    join(older, "shim/tracemalloc.h"),
    readFileSync(`${root}shim/tracemalloc.h`, "utf8").replace(/TM_ABI_VERSION \d+u/, "TM_ABI_VERSION 1u"),
  );
  const { status, stderr } = run(program, older);
  assertEquals(status, 1);
  assertMatch(
    stderr,
    /UnsupportedError: another copy of this library traces this process already, and this one cannot join it: the shim \S+ is of another version \(ABI \d+, not 1\)/,
  );
});

test("two shims in a process: the second does not start beside the first", once, () => {
  const shim = ensureShim(), stress = compile("stress.c", folder.path("stress"));
  copyFileSync(shim, folder.path("libother.so"));
  const env = { ...process.env, SCALE: "0", STRESS_OTHER: folder.path("libother.so") };
  for (
    const command of [[stress, "copies", shim], [
      "env",
      `LD_PRELOAD=${shim}`,
      "TRACEMALLOC_PRELOAD=1",
      stress,
      "copies",
    ]]
  ) {
    const { status, signal, stderr } = spawnSync(command[0]!, command.slice(1), { encoding: "utf8", env });
    assertEquals([status, signal, stderr], [0, null, ""]);
  }
});
