/** The programs of tests/programs/ that run on Node.js, traced there: every marked line owns exactly what its mark says. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { node as executable } from "./node.ts";
import { problemOf, traceOwners } from "./owners.ts";
import { findPrograms, marksOf, type Mode, modes, type Program, root } from "./programs.ts";

/** These call Deno itself, or are of a syntax that Node does not take. */
const notForNode = ["elements.tsx", "ends.ts", "ffi.ts", "leaky_server.ts", "shifted.ts"];

/** Another Node than the pinned one may not run all of them, traced or not. */
const programs = findPrograms().filter(({ name, script }) =>
  !notForNode.includes(name) && !/\bDeno\./.test(readFileSync(script, "utf8")) &&
  (!process.env["TRACED_NODE"] || node([script]).status === 0)
);

for (const program of programs) {
  for (const mode of modes) {
    test(`${program.name} on Node, ${mode}: every mark`, () => {
      assertEquals(problemsOf(program, mode), []);
    });
  }
}

/** What differs from the marks, a line each. */
function problemsOf(program: Program, mode: Mode): string[] {
  const owners = traceOwners(program.script, mode, node);
  return marksOf(program).filter(({ kind }) => kind === "mark").flatMap(({ file, line, size, blocks }) =>
    problemOf(owners, size, blocks, `${file}:${line}`) ?? []
  );
}

function node(args: readonly string[], input = "") {
  const env = { ...process.env, NO_COLOR: "1" };
  return spawnSync(executable, args, { cwd: root, encoding: "utf8", env, input });
}
