/** Tracebacks on Bun are those of the engine's own stack traces. */
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { bun, testedBuns } from "./buns.ts";
import { inFolder, root } from "./programs.ts";

const program = `${root}tests/tracer/bun_stacks.mjs`;

interface Counts {
  readonly checks: number;
  readonly frames: number;
  readonly wrong: number;
  readonly unknown: number;
  readonly missing: number;
  readonly examples: readonly string[];
}

/** Of what is tracked by hand, and of buffers. */
interface Result extends Counts {
  readonly buffers: Counts;
}

function compareStacks(
  bun: string,
  seed: number,
  traced: "run" | "start",
  { env = {}, kind = "" }: { readonly env?: Record<string, string>; readonly kind?: string } = {},
): Result {
  return inFolder((folder) => {
    const given = [program, "10000", String(seed), kind];
    const args = traced === "run" ? [`${root}cli.ts`, "run", "-n", "50", "-o", `${folder}/snapshot`, ...given] : given;
    const { status, signal, stdout, stderr } = spawnSync(bun, args, {
      encoding: "utf8",
      env: { ...process.env, BUN_JSC_useTailCalls: "0", ...env },
    });
    assertEquals([status, signal], [0, null], stdout + stderr);
    const { refused, ...result } = JSON.parse(stdout);
    assertEquals(refused, undefined);
    return result;
  });
}

function assertExact(
  { checks, frames, wrong, unknown, missing, examples }: Counts,
  least: number,
): void {
  assertEquals([wrong, missing], [0, 0], examples.join("\n"));
  assert(checks >= least && frames > 5 * least, `only ${checks} checks of ${frames} frames`);
  assert(unknown <= checks * 0.005, `${unknown} of ${checks} tracebacks are unknown`);
}

/** Half of the checks, at least 10,000, are of the one kind, and half of the other. */
function assertBothExact({ buffers, ...tracked }: Result): void {
  assertExact(tracked, 3_000);
  assertExact(buffers, 3_000);
}

for (const { name, bun } of testedBuns()) {
  test(`${name}: tracebacks are the engine's stack traces under \`tracemalloc run\``, () => {
    assertBothExact(compareStacks(bun, 1, "run"));
  });

  test(`${name}: tracebacks are the engine's stack traces, or unknown, after a plain start()`, () => {
    assertBothExact(compareStacks(bun, 3, "start"));
    assertExact(compareStacks(bun, 3, "start", { kind: "buffers" }).buffers, 10_000);
    // Much is made and collected here between two turns of the event loop.
    assertExact(compareStacks(bun, 7, "start", { kind: "buffers" }).buffers, 10_000);
  });

  test(`${name}: code of modules is known again after collections`, () => {
    const program = `
      import { DomainFilter, start, takeSnapshot, track } from ${JSON.stringify(`${root}mod.ts`)};
      start();
      track(100, 1, 11);
      for (let i = 0; i < 5; i++) {
        Bun.gc(true);
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      console.log([...takeSnapshot().filterTraces([new DomainFilter(true, 100)]).traces].join());
      process.exit(0);`;
    inFolder((folder) => {
      writeFileSync(`${folder}/program.ts`, program);
      const { stdout, stderr } = spawnSync(bun, [`${folder}/program.ts`], { encoding: "utf8" });
      assertEquals(stdout, `${folder}/program.ts:4: 11 B\n`, stderr);
    });
  });
}

for (const { name, bun } of testedBuns()) {
  test(`${name}: code that is collected before it could be named has its lines`, () => {
    const program = `
      import { edenGC, fullGC } from "bun:jsc";
      import { start, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
      start();
      const kept = [];
      for (let i = 0; i < 500; i++) {
        new Function("kept", "\\n".repeat(i % 9) + "kept.push(new ArrayBuffer(" + (1_000_001 + 2 * i) + "))")(kept);
        if (i % 100 === 50) edenGC();
        if (i % 100 === 99) fullGC();
      }
      const lines = [...takeSnapshot().traces].filter(({ size }) => size >= 1_000_001 && size % 2 === 1)
        .map(({ size, traceback }) => [(size - 1_000_001) / 2 % 9 + 3, traceback.at(-1).lineno]);
      console.log(lines.length, lines.filter(([expected, found]) => expected !== found).length);
      process.exit(0);`;
    inFolder((folder) => {
      writeFileSync(`${folder}/program.ts`, program);
      const { stdout, stderr } = spawnSync(bun, [`${folder}/program.ts`], { encoding: "utf8" });
      assertEquals(stdout, "500 0\n", stderr);
    });
  });
}

for (const { name, bun } of testedBuns()) {
  test(`${name}: code at an address is not taken for what was there many collections before`, () => {
    const program = `
      import { edenGC } from "bun:jsc";
      import { DomainFilter, start, takeSnapshot, track } from ${JSON.stringify(`${root}mod.ts`)};
      start();
      const lines = [0];
      for (let round = 0, next = 0; round < 80; round++) {
        // Most addresses are used again only after some collections.
        const many = round >= next;
        if (many) next = round + 7 + round % 4;
        for (let i = many ? 100 : 5; i > 0; i--) {
          const id = lines.length, line = id % 47;
          lines.push(line + 3);
          new Function("track", "\\n".repeat(line) + "track(100, " + id + ", " + id + ")")(track);
        }
        takeSnapshot();
        edenGC();
      }
      const { traces } = takeSnapshot().filterTraces([new DomainFilter(true, 100)]);
      const wrong = [...traces].filter(({ size, traceback }) => traceback.at(-1).lineno !== lines[size]);
      console.log(traces.length === lines.length - 1, wrong.length, wrong.slice(0, 3).map(String).join());
      process.exit(0);`;
    inFolder((folder) => {
      writeFileSync(`${folder}/program.ts`, program);
      const { stdout, stderr } = spawnSync(bun, [`${folder}/program.ts`], { encoding: "utf8" });
      assertEquals(stdout, "true 0 \n", stderr);
    });
  });
}

for (const { name, bun } of testedBuns()) {
  test(`${name}: snapshots on a stack that is too deep, or too long as a text, for sites to be named`, () => {
    const program = `
      import { DomainFilter, start, takeSnapshot, track } from ${JSON.stringify(`${root}mod.ts`)};
      start();
      const kept = [];
      function deep(n) {
        if (n % 100 === 0) {
          const f = new Function("track", "\\n".repeat(n / 100) + "track(100, " + n + ", " + n + ")");
          kept.push(f);
          f(track);
          takeSnapshot();
        }
        return n === 0 ? 0 : deep(n - 1) + 1;
      }
      console.log(deep(3000));
      const { traces } = takeSnapshot().filterTraces([new DomainFilter(true, 100)]);
      const wrong = [...traces].filter(({ size, traceback }) => traceback.at(-1).lineno !== size / 100 + 3);
      console.log(traces.length, wrong.map(String).join());
      process.exit(0);`;
    inFolder((folder) => {
      const path = `${folder}/${"a".repeat(250)}/`;
      mkdirSync(path);
      writeFileSync(`${path}program.ts`, program);
      const { stdout, stderr } = spawnSync(bun, [`${path}program.ts`], { encoding: "utf8" });
      assertEquals(stdout, "3000\n31 \n", stderr);
    });
  });
}

for (const { name, bun } of testedBuns()) {
  test(`${name}: sites are named below stacks of more lines than the program wants in its own`, () => {
    const program = `
      import { DomainFilter, start, takeSnapshot, track } from ${JSON.stringify(`${root}mod.ts`)};
      Error.stackTraceLimit = 20;
      start();
      function deep(n, f) {
        if (n > 0) return deep(n - 1, f) + 1;
        f();
        return 0;
      }
      const lines = new Set();
      for (let i = 1; i <= 300; i++) {
        const f = new Function("track", "\\n".repeat(i % 7) + "track(100, " + i + ", " + i + ")");
        deep(70, () => f(track));
        deep(150, () => lines.add(new Error().stack.split("\\n").length - 1));
      }
      const { traces } = takeSnapshot().filterTraces([new DomainFilter(true, 100)]);
      const wrong = [...traces].filter(({ size, traceback }) => traceback.at(-1).lineno !== size % 7 + 3);
      console.log(traces.length, wrong.length, [...lines].join());
      process.exit(0);`;
    inFolder((folder) => {
      writeFileSync(`${folder}/program.ts`, program);
      const { stdout, stderr } = spawnSync(bun, [`${folder}/program.ts`], {
        encoding: "utf8",
        env: { ...process.env, BUN_JSC_useTailCalls: "0" },
      });
      assertEquals(stdout, "300 0 20\n", stderr);
    });
  });
}

for (const { name, bun } of testedBuns()) {
  test(`${name}: a process that is stopped while it calibrates loses no time`, () => {
    // So it sees the clock: now and then a minute has gone by since the look before.
    const clock = `
      const { performance } = globalThis;
      let looks = 0;
      globalThis.performance = { now: () => performance.now() + 60_000 * Math.floor(Math.log2(++looks)) };`;
    const program = `
      import "./clock.ts";
      const { start, takeSnapshot, track } = await import(${JSON.stringify(`${root}mod.ts`)});
      start();
      track(100, 1, 11);
      console.log([...takeSnapshot().traces].filter(({ size }) => size === 11).join());
      process.exit(0);`;
    inFolder((folder) => {
      writeFileSync(`${folder}/clock.ts`, clock);
      writeFileSync(`${folder}/program.ts`, program);
      const { stdout, stderr } = spawnSync(bun, [`${folder}/program.ts`], { encoding: "utf8" });
      assertEquals([stdout, stderr], [`${folder}/program.ts:5: 11 B\n`, ""]);
    });
  });
}

for (const option of ["collectContinuously=1", "useFTLJIT=0", "useConcurrentJIT=0", "useConcurrentGC=0"]) {
  test(`tracebacks are the engine's stack traces with ${option}`, () => {
    const [name, value] = option.split("=") as [string, string];
    assertBothExact(compareStacks(bun, 5, "run", { env: { [`BUN_JSC_${name}`]: value } }));
  });
}

test("what a program has set for its own stack traces is used for nothing else, and left as found", () => {
  const program = `
    import { start, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
    let calls = 0;
    const prepare = () => { calls++; throw new Error("mine"); };
    Error.prepareStackTrace = prepare;
    Error.stackTraceLimit = 0;
    start();
    const kept = [new ArrayBuffer(1_999_907)];
    const [trace] = [...takeSnapshot().traces].filter(({ size }) => size === 1_999_907);
    await new Promise((resolve) => setTimeout(resolve, 100));
    console.log(JSON.stringify([
      trace.traceback.at(-1).lineno, calls, Error.prepareStackTrace === prepare, Error.stackTraceLimit, kept.length,
    ]));
    process.exit(0);`;
  inFolder((folder) => {
    writeFileSync(`${folder}/program.ts`, program);
    const { stdout, stderr } = spawnSync(bun, [`${folder}/program.ts`], { encoding: "utf8" });
    assertEquals(stdout, "[8,0,true,0,1]\n", stderr);
  });
});
