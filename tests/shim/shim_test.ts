import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../../lib/runtime/shim_file.ts";

const folder = fileURLToPath(new URL("../../.build/tests/", import.meta.url));
const source = fileURLToPath(new URL("shim_test.c", import.meta.url));
const program = `${folder}shim_test.${process.pid}`;

function runToEnd(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): string {
  const { status, signal, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  assert(!error, `${command} cannot be started: ${error?.message}`);
  assertEquals([status, signal], [0, null], `${command} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

/** Compilers take calls of malloc apart, and warn of what the test does on purpose. */
const flags = "-std=c11 -D_GNU_SOURCE -O1 -g -fno-builtin -Wall -Wextra -Werror -pthread".split(" ");

function eachTestIsOk(output: string): void {
  const lines = output.trimEnd().split("\n");
  assertEquals(lines.filter((line) => !line.startsWith("ok ")), []);
  assert(lines.length >= 16, `only ${lines.length} tests ran:\n${output}`);
}

/** The system's compiler, and both that the shim is written for where they are installed. */
const compilers = [...new Set([process.env["CC"] || "cc", "gcc", "clang"])].filter((compiler, i) =>
  i === 0 || !spawnSync(compiler, ["--version"]).error
);

for (const compiler of compilers) {
  test(`the shim built by ${compiler}, preloaded and hooked in at run time`, async (context) => {
    mkdirSync(folder, { recursive: true });
    runToEnd(compiler, [...flags, source, "-o", program]);
    const shim = ensureShim(compiler);
    await context.test("preloaded", () => {
      eachTestIsOk(runToEnd(program, [], { LD_PRELOAD: shim, TRACEMALLOC_PRELOAD: "1" }));
    });
    await context.test("preloaded before another library, which stays in the environment", () => {
      const others = { LD_PRELOAD: `${shim}:libm.so.6`, EXPECT_LD_PRELOAD: "libm.so.6" };
      eachTestIsOk(runToEnd(program, [], { ...others, TRACEMALLOC_PRELOAD: "1" }));
    });
    await context.test("hooked in", () => eachTestIsOk(runToEnd(program, [shim])));
  });
}

test("frame pointers that lead out of the stack are not followed", () => {
  mkdirSync(folder, { recursive: true });
  const source = fileURLToPath(new URL("frames_test.c", import.meta.url)),
    frames = `${folder}frames_test.${process.pid}`;
  runToEnd(process.env["CC"] || "cc", [...flags, source, "-o", frames]);
  runToEnd(frames, []);
});

test("names of native code are read from files that others cut meanwhile", () => {
  mkdirSync(folder, { recursive: true });
  const source = fileURLToPath(new URL("symbols_test.c", import.meta.url));
  const shim = fileURLToPath(new URL("../../shim/", import.meta.url));
  const symbols = `${folder}symbols_test.${process.pid}`,
    library = `${symbols}.so`,
    compiler = process.env["CC"] || "cc";
  const parts = ["symbols.c", "demangle.c", "platform_linux.c"].map((name) => `${shim}${name}`);
  runToEnd(compiler, [...flags, "-fPIC", "-shared", "-DLIBRARY", source, "-o", library]);
  runToEnd(compiler, [...flags, source, ...parts, "-ldl", "-o", symbols]);
  runToEnd(symbols, [library]);
});
