/**
 * What native programs do that tracers break at: preloaded, and hooked in at run time. `STRESS_SCALE=10` does ten times as
 * much: then start and stop 10,000 times.
 */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { readImage } from "../../lib/tracer/image.ts";
import { compile, makeFolder, once } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const program = compile("stress.c", folder.path("stress"));
const library = compile("library.c", folder.path("liblibrary.so"), "-shared", "-fPIC");
const shim = ensureShim();
const image = folder.path("image"), head = "12345678";

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
  "forks by system call and _Fork(), of which no handler is told, while other threads are in the tracer": "raw_forks",
  "filters that refuse the tracer's system calls, one at a time": "refusals",
  "all descriptors closed, standard streams too, while images are written": "descriptors",
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
          STRESS_OUTPUT: image,
          ...(mode === "preloaded" && { LD_PRELOAD: shim, TRACEMALLOC_PRELOAD: "1" }),
        },
      });
      assertEquals([status, signal, stderr], [0, null, ""]);
      // The last image, which is written at the end, is whole.
      if (name === "descriptors") readImage(new Uint8Array(readFileSync(image)).slice(head.length));
      if (name !== "no_address_space") return;
      const [, made, lost] = /^(\d+) blocks, (\d+) lost\n$/.exec(stdout) ?? [];
      assert(Number(lost) > 1000 && Number(made) > Number(lost), `there was memory after all: ${stdout}`);
    });
  }
}
