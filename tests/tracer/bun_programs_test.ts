/** The programs of tests/programs/ that need no Deno, traced on Bun: every marked line owns exactly what its mark says. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Snapshot } from "../../mod.ts";
import { buildNativeLibraries } from "../../tools/native_libraries.mjs";
import { bun as pinned, testedBuns } from "./buns.ts";
import { problemOf, traceOwners } from "./owners.ts";
import { findPrograms, inFolder, marksOf, type Mode, modes, type Program, root } from "./programs.ts";

/** These call Deno itself (native libraries on Bun: bun_native.ts); Bun compiles JSX for a library that is not there. */
const notForBun = ["elements.tsx", "ends.ts", "ffi.ts", "leaky_server.ts"];

const programs = findPrograms().filter(({ name, script }) =>
  !notForBun.includes(name) && !/\bDeno\./.test(readFileSync(script, "utf8"))
);

const native: Program = {
  name: "bun_native.ts",
  script: `${root}tests/tracer/bun_native.ts`,
  files: [`${root}tests/tracer/bun_native.ts`],
};
programs.push(native);
buildNativeLibraries();

for (const { name, bun } of testedBuns()) {
  for (const program of programs) {
    // What does not hang on the version is seen on the pinned one; the others have all of it in `npm run test:buns`.
    for (const mode of bun === pinned ? modes : modes.slice(1, 3)) {
      test(`${program.name} on ${name}, ${mode}: every mark`, () => {
        assertEquals(problemsOf(bun, program, mode), []);
      });
    }
  }
}

/** What differs from the marks, a line each. */
function problemsOf(bun: string, program: Program, mode: Mode): string[] {
  // What `run` sets by itself.
  const env = { ...process.env, NO_COLOR: "1", ...(mode.startsWith("start") && { BUN_JSC_useTailCalls: "0" }) };
  const owners = traceOwners(
    program.script,
    mode,
    (args) => spawnSync(bun, args, { cwd: root, encoding: "utf8", env }),
  );
  const problems: string[] = [];
  for (const { file, kind, size, blocks, bunLine } of marksOf(program)) {
    if (kind !== "mark" || bunLine === 0) continue;
    const place = `${file}:${bunLine}`;
    if (mode.startsWith("start") && program.name === "hot.ts") joinUnknown(owners.get(size), place);
    const problem = problemOf(owners, size, blocks, place);
    if (problem !== undefined) problems.push(problem);
  }
  return problems;
}

/**
 * Compiled code that is replaced by better compiled code is collected, and after a plain `start()` that can be before there
 * was a moment to name it: `hot.ts` runs for seconds without any. Unknown lines are as good as the right ones, then; wrong
 * ones are not.
 */
function joinUnknown(owners: Map<string, number> | undefined, place: string): void {
  const unknown = owners?.get("<unknown>:0");
  if (!owners || unknown === undefined) return;
  owners.delete("<unknown>:0");
  owners.set(place, (owners.get(place) ?? 0) + unknown);
}

/**
 * Without the line of the module's own code in an error's stack: untraced, too, Bun leaves it out where it has collected at
 * the wrong moment, as it may after any program that has made much before.
 */
function withoutModule(text: string): string {
  return text.replace(/^ +at \/[^ ]*\/ends\.ts:\d+:\d+\n/m, "");
}

for (const way of ["return", "process.exit", "process.exit in a timer", "exit code", "exception", "rejection"]) {
  test(`a program on Bun that ends by ${way} prints and ends as it does untraced, and leaves its snapshot`, () => {
    const ends = `${root}tests/programs/ends.ts`, given = { cwd: root, encoding: "utf8", input: "text\n" } as const;
    const untraced = spawnSync(pinned, [ends, way], given);
    inFolder((folder) => {
      const path = `${folder}/snapshot`;
      const traced = spawnSync(pinned, [`${root}cli.ts`, "run", "-o", path, ends, way], given);
      assertEquals([traced.status, traced.stdout], [untraced.status, untraced.stdout], traced.stderr);
      const expected = withoutModule(untraced.stderr);
      assertEquals(withoutModule(traced.stderr).slice(0, expected.length), expected);
      assert(Snapshot.load(path).traces.length > 0);
    });
  });
}

test("a program on Bun has its own environment, and keeps its tail calls if it is to", () => {
  inFolder((folder) => {
    const script = `${folder}/program.ts`;
    // Bun makes it a call in tail position, and module code is strict.
    const depth = `function depth() { const lines = new Error().stack!.split("\\n").length; return lines; }
function caller() { const d = depth(); return d; }`;
    writeFileSync(
      script,
      `${depth}\nconsole.log(caller(), Object.keys(process.env).filter((n) => /^BUN_JSC|PRELOAD/.test(n)));`,
    );
    const run = (...options: string[]) =>
      spawnSync(pinned, [`${root}cli.ts`, "run", ...options, "-o", `${folder}/snapshot`, script], {
        cwd: root,
        encoding: "utf8",
      }).stdout;
    const [kept, gone] = [run(), run("--keep-tail-calls")];
    assertMatch(kept, /^\d+ \[\]\n$/);
    assert(parseInt(gone) < parseInt(kept), `${gone} ${kept}`);
  });
});
