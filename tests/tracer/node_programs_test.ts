/** The programs of tests/programs/ that run on Node.js, traced there: every marked line owns exactly what its mark says. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { Snapshot } from "../../mod.ts";
import { node as executable } from "./node.ts";
import { findPrograms, inFolder, marksOf, type Program, root } from "./programs.ts";

/** These call Deno itself, or are of a syntax that Node does not take. */
const notForNode = ["elements.tsx", "ends.ts", "ffi.ts", "leaky_server.ts", "shifted.ts"];

/** Another Node than the pinned one may not run all of them, traced or not. */
const programs = findPrograms().filter(({ name, script }) =>
  !notForNode.includes(name) && !/\bDeno\./.test(readFileSync(script, "utf8")) &&
  (!process.env["TRACED_NODE"] || node([script]).status === 0)
);

const modes = ["run -n 1", "run -n 25", "start(1)", "start(25)"] as const;

for (const program of programs) {
  for (const mode of modes) {
    test(`${program.name} on Node, ${mode}: every mark`, () => {
      assertEquals(problemsOf(program, mode), []);
    });
  }
}

/** What differs from the marks, a line each. */
function problemsOf(program: Program, mode: typeof modes[number]): string[] {
  const owners = trace(program.script, mode);
  const problems: string[] = [];
  for (const mark of marksOf(program)) {
    if (mark.kind !== "mark") continue;
    const place = `${mark.file}:${mark.line}`, expected = `${mark.blocks} at ${place}`;
    const found = [...owners.get(mark.size) ?? []].map(([owner, count]) => `${count} at ${owner}`).join(", ") || "none";
    if (found !== expected) problems.push(`blocks of ${mark.size} bytes: expected ${expected}, found ${found}`);
  }
  return problems;
}

/** Blocks of every size by the line that owns them. */
function trace(script: string, mode: string): Map<number, Map<string, number>> {
  const nframe = /\d+/.exec(mode)![0];
  return inFolder((folder) => {
    const snapshot = `${folder}/snapshot`;
    const args = mode.startsWith("run")
      ? [`${root}cli.ts`, "run", "-n", nframe, "-o", snapshot, script]
      : [`${root}tests/tracer/start_program.ts`, nframe, snapshot, `${folder}/transfer`, script];
    const { status, signal, stderr } = node(args);
    assertEquals([status, signal], [0, null], stderr);
    const owners = new Map<number, Map<string, number>>();
    for (const { size, traceback } of Snapshot.load(snapshot).traces) {
      const owner = String(traceback.at(-1)), found = owners.get(size) ?? new Map<string, number>();
      owners.set(size, found.set(owner, (found.get(owner) ?? 0) + 1));
    }
    return owners;
  });
}

function node(args: readonly string[], input = "") {
  const env = { ...process.env, NO_COLOR: "1" };
  return spawnSync(executable, args, { cwd: root, encoding: "utf8", env, input });
}
