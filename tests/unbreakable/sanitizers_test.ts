/**
 * The shim linked into the stress program, which calls the hooks by their names, with the compiler's sanitizers: a
 * sanitizer's own allocator has to stay in front. Not under them: libraries (they would call the sanitizer's allocator), and
 * forks under ThreadSanitizer, which does not allow them in programs with threads.
 */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { makeFolder, once, root } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());

const flags = "-std=c11 -D_GNU_SOURCE -O1 -g -fno-omit-frame-pointer -fno-builtin -pthread -rdynamic".split(" ");
const hooks = ["malloc", "calloc", "realloc", "free", "posix_memalign"].map((name) => `-D${name}=tm_hook_${name}`);
const compilers = [...new Set([process.env["CC"] || "cc", "gcc", "clang"])];

/** A compiler that has the sanitizer: its library is often in a package of its own. */
function compilerWith(sanitizer: string): string | undefined {
  return compilers.find((compiler) => {
    const args = ["-x", "c", "-", `-fsanitize=${sanitizer}`, "-o", folder.path("nothing")];
    return spawnSync(compiler, args, { input: "int main(void) { return 0; }" }).status === 0;
  });
}

function run(command: string, args: readonly string[], env: Record<string, string> = {}): void {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 28,
  });
  assertEquals(
    [error, status, signal],
    [undefined, 0, null],
    `${command} ${args.join(" ")}\n${stdout}${stderr}`.slice(0, 5000),
  );
}

/** Two objects: what the program calls malloc is the hook, and what the shim calls so is the sanitizer's. */
function build(compiler: string, sanitizer: string): string {
  const target = folder.path(`stress-${sanitizer}`);
  const sources = readdirSync(`${root}shim`).filter((name) => name.endsWith(".c") && name !== "ends.c");
  const all = [...flags, `-fsanitize=${sanitizer}`, "-DTM_LINKED=1"];
  run(compiler, [...all, ...hooks, "-c", `${root}tests/unbreakable/stress.c`, "-o", `${target}.o`]);
  run(compiler, [...all, ...sources.map((name) => `${root}shim/${name}`), `${target}.o`, "-ldl", "-lm", "-o", target]);
  return target;
}

const everywhere = ["threads", "start_and_stop", "signal_storm", "small_stacks", "ends"];

for (
  const [sanitizer, tries] of [
    // Its state of a thread is gone before the thread's last destructors allocate.
    ["thread", everywhere],
    ["address,undefined", [...everywhere, "thread_ends", "forks"]],
  ] as const
) {
  const compiler = compilerWith(sanitizer);
  const options = compiler === undefined ? { skip: `no compiler here has -fsanitize=${sanitizer}` } : once;
  test(`nothing is found by -fsanitize=${sanitizer}`, options, () => {
    assert(compiler !== undefined);
    const program = build(compiler, sanitizer);
    for (const name of tries) {
      run(program, [name], {
        SCALE: process.env["STRESS_SCALE"] ?? "0",
        TRACEMALLOC_PRELOAD: "1",
        // Handlers of the storm allocate on purpose.
        TSAN_OPTIONS: "report_signal_unsafe=0",
        UBSAN_OPTIONS: "halt_on_error=1:print_stacktrace=1",
        // Leaks are looked for on the stacks of threads, which the child of a fork does not have.
        ...(name === "forks" && { ASAN_OPTIONS: "detect_leaks=0" }),
      });
    }
  });
}
