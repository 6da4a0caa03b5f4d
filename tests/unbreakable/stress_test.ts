/**
 * What native programs do that tracers break at: preloaded, and hooked in at run time. `STRESS_SCALE=10` does ten times as
 * much: then start and stop 10,000 times.
 */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import process from "node:process";
import { after, test } from "node:test";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { compile, makeFolder, once } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const program = compile("stress.c", folder.path("stress"));
const library = compile("library.c", folder.path("liblibrary.so"), "-shared", "-fPIC");
const shim = ensureShim();

/** What is tried, and how it is called there. */
const tries: Readonly<Record<string, string>> = {
  "64 threads that start threads, and free each other's blocks": "threads",
  "start and stop under load": "start_and_stop",
  "signals at 10 kHz whose handlers allocate, into the tracer's own work": "signal_storm",
  "fork, vfork and posix_spawn, with exec and without, in the middle of what other threads allocate": "forks",
  "libraries that come and go": "libraries",
  "threads that end, and allocate while they do, while the tables are taken": "thread_ends",
  "stacks of 16 KiB, and signal stacks that are smaller": "small_stacks",
  "no address space for the tables": "no_address_space",
  "exit handlers, destructors, _exit and quick_exit while other threads allocate": "ends",
};

for (const [what, name] of Object.entries(tries)) {
  for (const mode of ["preloaded", "hooked in"] as const) {
    test(`${what}, ${mode}`, once, () => {
      const { status, signal, stdout, stderr } = spawnSync(program, mode === "preloaded" ? [name] : [name, shim], {
        encoding: "utf8",
        env: {
          ...process.env,
          SCALE: process.env["STRESS_SCALE"] ?? "1",
          STRESS_LIBRARY: library,
          ...(mode === "preloaded" && { LD_PRELOAD: shim, TRACEMALLOC_PRELOAD: "1" }),
        },
      });
      assertEquals([status, signal, stderr], [0, null, ""]);
      if (name !== "no_address_space") return;
      const [, made, lost] = /^(\d+) blocks, (\d+) lost\n$/.exec(stdout) ?? [];
      assert(Number(lost) > 1000 && Number(made) > Number(lost), `there was memory after all: ${stdout}`);
    });
  }
}
