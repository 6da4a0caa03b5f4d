/** Bun's own allocator, seen by the shim alone: in processes of Bun, whichever runtime runs the tests. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../../lib/runtime/shim_file.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = `${root}.build/tests/`;

/** The pinned Bun, and what `$BUNS` names beside it (paths with colons between them). */
const buns = [`${root}node_modules/.bin/bun`, ...(process.env["BUNS"] ?? "").split(":").filter((path) => path !== "")];

function run(bun: string, program: string, args: readonly string[], env: NodeJS.ProcessEnv): string {
  const { status, signal, stdout, stderr } = spawnSync(bun, [`${root}tests/shim/mimalloc/${program}`, ...args], {
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  assertEquals([status, signal], [0, null], `${bun} ${program} ${args.join(" ")}\n${stdout}${stderr}`);
  return stdout;
}

for (const bun of buns) {
  const version = spawnSync(bun, ["--version"], { encoding: "utf8" }).stdout.trim();
  const shim = ensureShim();
  // deno-lint-ignore no-explicit-any
  const ask = (name: string): any => JSON.parse(run(bun, "cases.mjs", [name], { SHIM: shim }));

  test(`Bun ${version}: its allocator`, async (context) => {
    const { refusal, calibration } = ask("opened");
    if (refusal !== null) {
      // Versions before the profiler's hooks: nothing is found, and nothing else is said.
      assertMatch(refusal, /^the memory that the runtime allocates by itself is not traced: /);
      assertEquals(Object.keys(calibration), ["failed"]);
      return;
    }

    await context.test("blocks are seen however they are allocated, and freed", () => {
      for (const [way, [live, after]] of Object.entries<[number, number]>(ask("ways"))) {
        assert(live >= 10 && live <= 20, `${way}: ${live} blocks live`);
        assertEquals(after, 0, way);
      }
    });

    await context.test("small blocks one by one, also where two sizes differ by what the profiler adds", () => {
      for (const [sizes, counts] of Object.entries<number[]>(ask("short"))) {
        for (const count of counts) assert(count >= 5000 && count <= 5010, `${sizes}: ${counts}`);
      }
    });

    await context.test("the first block after start() is seen", () => {
      assertEquals(ask("first"), []);
    });

    await context.test("pages of the garbage-collected heap have a name of their own", () => {
      assertEquals(ask("cells"), { sizes: [16384], kinds: [4], enough: true, ordinary: 100 });
    });

    await context.test("threads that were there before, and that come later", () => {
      assertEquals(ask("workers"), { early: 1000, late: 1000 });
    });

    await context.test("blocks that another thread frees, of more sizes than a thread keeps in mind", () => {
      assertEquals(ask("given"), Array(9).fill(0));
    });

    await context.test("a block by its address", () => {
      assertEquals(ask("address"), [54_321, 77, null, null]);
    });

    await context.test("what was cleared or stopped does not count when it is freed", () => {
      assertEquals(ask("balance"), { grown: true, cleared: true, after: true, last: 1, never: 0 });
    });

    await context.test("stopped, it works on and is not seen; a second search changes nothing", () => {
      assertEquals(ask("stopped"), { current: 0, again: null });
    });

    await context.test("each thing found wrongly is refused before anything is written", async (context) => {
      mkdirSync(folder, { recursive: true });
      const compiler = `${folder}cc_disturb`;
      writeFileSync(compiler, '#!/bin/sh\nexec "${CC:-cc}" -DTM_DISTURB "$@"\n');
      chmodSync(compiler, 0o755);
      const disturbed = ensureShim(compiler);
      for (const field of Object.keys(calibration).filter((name) => name !== "gc_caller")) {
        await context.test(field, () => {
          const said = JSON.parse(run(bun, "cases.mjs", ["opened"], { SHIM: disturbed, DISTURB: field }));
          assertMatch(said.refusal, /does not show /);
        });
      }
      assertEquals(JSON.parse(run(bun, "cases.mjs", ["opened"], { SHIM: disturbed })).refusal, null);
    });

    await context.test("workers and the collector at their worst: no crash, nothing left over", async () => {
      const seconds = process.env["SOAK_SECONDS"] ?? "8";
      const child = spawn(bun, [`${root}tests/shim/mimalloc/soak.mjs`, seconds], {
        env: { ...process.env, SHIM: shim, BUN_JSC_collectContinuously: "1", BUN_JSC_useConcurrentGC: "1" },
        stdio: ["ignore", "pipe", "inherit"],
      });
      let output = "";
      child.stdout.setEncoding("utf8").on("data", (text) => output += text);
      const ended = await new Promise((done) => child.on("close", (code, signal) => done([code, signal])));
      assertEquals(ended, [0, null], output);
      const { allocations, live, left } = JSON.parse(output);
      console.log(`${allocations} allocations in ${seconds} s`);
      assert(allocations > 10_000, output);
      assertEquals([live, left], [400, 0], output);
    });
  });
}
