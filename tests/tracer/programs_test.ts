/** Real programs, traced: every marked line owns what its mark says, and they print and end as they do untraced. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import { Tier } from "../../lib/tracer/abi.ts";
import { Snapshot } from "../../mod.ts";
import { runtimes } from "../../tools/runtimes.mjs";
import { type Mark, readMarks } from "./marks.ts";
import {
  deno,
  type Ended,
  findPrograms,
  inFolder,
  marksOf,
  type Mode,
  modes,
  type Program,
  root,
  run,
  textOf,
  trace,
  type Traced,
} from "./programs.ts";

const pinned = !process.env["TRACED_DENO"];

/** Another Deno than the pinned one may not run all of them, traced or not. */
const programs = findPrograms().filter(({ script }) => pinned || deno([script]).code === 0);

/** Up to 2.6 Deno cuts the first line off a CommonJS module if it is for a shell, and counts from the second. */
const countsFromSecond = !pinned && inFolder((folder) => {
  writeFileSync(`${folder}/main.cjs`, 'require("./shell.cjs")');
  writeFileSync(
    `${folder}/shell.cjs`,
    "#!/usr/bin/env node\nconsole.log(/shell.cjs:(\\d+)/.exec(new Error().stack)[1])\n",
  );
  return deno([`${folder}/main.cjs`]).stdout.trim() === "1";
});

function linesOf(file: string): string[] {
  const text = textOf(file);
  return (countsFromSecond && text.startsWith("#!") ? text.slice(text.indexOf("\n") + 1) : text).split("\n");
}

test("marks can be read, and others are refused", () => {
  assertEquals(readMarks("a.ts", "\nf(); // mark 5001 x2 interpreter inlined\n{g() /* mark 5003 bun:1 */}</b>"), [
    { file: "a.ts", line: 2, kind: "mark", size: 5001, blocks: 2, tiers: ["interpreter", "inlined"], bunLine: 2 },
    { file: "a.ts", line: 3, kind: "mark", size: 5003, blocks: 1, tiers: [], bunLine: 1 },
  ]);
  for (const comment of ["mark", "mark x2", "mark 5001 2", "mark 5001 x2 hot", "owns much"]) {
    let error: unknown;
    try {
      readMarks("a.ts", `// ${comment} `.trimEnd() + (comment === "mark" ? " " : ""));
    } catch (caught) {
      error = caught;
    }
    assert(error instanceof SyntaxError, comment);
  }
});

test("sizes of marks are odd, unique, and none that anything else has", () => {
  const seen = new Map<number, Mark>();
  const marks = [
    ...new Map(findPrograms().flatMap(marksOf).map((mark) => [`${mark.file}:${mark.line}`, mark])).values(),
  ];
  for (const mark of marks.filter(({ kind }) => kind === "mark")) {
    const { file, line, size } = mark;
    assert(size % 2 === 1 && size > 5000, `${file}:${line}: ${size}`);
    assert(!seen.has(size), `${file}:${line}: ${size} is that of ${seen.get(size)?.file}:${seen.get(size)?.line}`);
    seen.set(size, mark);
  }
  assert(marks.length >= 200, `${marks.length} marks`);
});

for (const program of programs) {
  for (const mode of modes) {
    test(`${program.name}, ${mode}: every mark, and every line there is`, () => {
      let problems = problemsIn(program, mode);
      // How long code stays in a tier depends on how soon V8's compilers have the next ready: on a busy machine it can be
      // too short a time to be seen in. What is wrong is wrong in any run; what was not seen need only be seen in one.
      for (let again = 0; again < 2 && problems.length > 0 && problems.every(isUnseen); again++) {
        const more = problemsIn(program, mode);
        problems = more.filter((problem) => !isUnseen(problem) || problems.includes(problem));
      }
      assertEquals(problems, []);
    });
  }
}

const hot = programs.find(({ name }) => name === "hot.ts")!;

for (
  const flags of [
    "--stress-compaction",
    "--stress-scavenge=50",
    "--stress-flush-code",
    "--always-osr",
    "--no-maglev",
    "--no-turbofan",
    "--jitless",
  ]
) {
  test(`hot.ts, while V8 moves and throws away code or goes without: ${flags}`, () => {
    inFolder((folder) => {
      const path = `${folder}/snapshot`;
      const ended = run(["-o", path, hot.script], { env: { DENO_V8_FLAGS: flags } });
      assertEquals([ended.code, ended.signal], [0, null], ended.stderr);
      const problems = problemsOf(marksOf(hot), { ended, snapshot: Snapshot.load(path), tiers: undefined });
      // Before 2.6 Maglev inlines nothing that would show how it says so: without TurboFan its code is not read; and code
      // of some functions is not understood while V8 moves it.
      assertEquals(pinned ? problems : problems.filter((problem) => !problem.includes("<unknown>")), []);
    });
  });
}

test("the demo shows the three leaks first", () => {
  const { status, stderr } = spawnSync(runtimes.node, [`${root}tools/demo.mjs`], { encoding: "utf8" });
  assertEquals(status, 0, stderr);
  const script = `${root}tests/programs/leaky_server.ts`;
  const shown = [...stderr.matchAll(/^#\d+: (.*): size=.*$/gm)].map(([, place]) => place);
  const lines = textOf(script).split("\n");
  const leaks = ["= createDeflate(", "= new Uint8Array(", "= native.thumbnail_open("];
  assertEquals(
    shown.slice(0, 3),
    leaks.map((code) => `${script}:${lines.findIndex((line) => line.includes(code)) + 1}`),
  );
});

/** What is wrong in a traced program, a line each. */
function problemsIn(program: Program, mode: Mode): string[] {
  const traced = trace(program, mode);
  assertEquals([traced.ended.code, traced.ended.signal], [0, null], traced.ended.stderr);
  return problemsOf(marksOf(program), traced);
}

const isUnseen = (problem: string) => problem.includes(": not seen in ");

function problemsOf(marks: readonly Mark[], traced: Traced): string[] {
  const problems = new Set<string>();
  const { owned, sizes } = check(traced, (problem) => problems.add(problem));
  for (const { file, line, kind, size, blocks, tiers } of marks) {
    const place = `${file}:${line + linesOf(file).length - textOf(file).split("\n").length}`;
    if (kind === "owns") {
      const found = owned.get(place) ?? 0;
      if (found < size) problems.add(`${place}: expected ${size} bytes or more, found ${found}`);
      continue;
    }
    const owners = [...sizes.get(size) ?? []].map(([owner, count]) => `${count} at ${owner}`).join(", ");
    if (owners !== `${blocks} at ${place}`) {
      problems.add(`expected blocks of ${size} bytes: ${blocks} at ${place}; found: ${owners || "none"}`);
    }
    const seen = traced.tiers?.get(place) ?? 0;
    // When a function is compiled is the business of each version.
    for (const tier of pinned && traced.tiers ? tiers : []) {
      if (!(seen & Tier[tier])) problems.add(`${place}: not seen in ${tier}`);
    }
  }
  return [...problems];
}

/** Goes through all traces: how much each line owns, who owns blocks of a size, and whether the lines can be. */
function check({ snapshot }: Traced, report: (problem: string) => void) {
  const owned = new Map<string, number>();
  const sizes = new Map<number, Map<string, number>>();
  const checked = new Set<string>();
  for (const { size, traceback } of snapshot.traces) {
    for (const frame of traceback) {
      const place = String(frame), own = size <= mostOfV8;
      if (checked.has(`${place} ${own}`)) continue;
      checked.add(`${place} ${own}`);
      const problem = problemOfFrame(frame.filename, frame.lineno, own);
      if (problem !== undefined) report(`${place}: ${problem}`);
    }
    const owner = String(traceback.at(-1));
    owned.set(owner, (owned.get(owner) ?? 0) + size);
    const owners = sizes.get(size) ?? new Map<string, number>();
    sizes.set(size, owners.set(owner, (owners.get(owner) ?? 0) + 1));
  }
  return { owned, sizes };
}

/**
 * V8 allocates blocks of this size and less for itself (marks are larger): write barriers for remembered sets, and what
 * makes an object, in the moment it needs a new page of the heap. From where write barriers do, neither the interpreter nor
 * optimised code says where it is, and Maglev's code does not where it makes objects: such a block has its file but no
 * line, or is unknown.
 */
const mostOfV8 = 5000;

/** Frames are of code in files, of the runtime's own code, which may have no lines, or of native code, which has none. */
function problemOfFrame(filename: string, lineno: number, ofV8: boolean): string | undefined {
  if (/^(?:ext|node):/.test(filename)) return undefined;
  if (!filename.startsWith("/")) {
    if (filename === "<unknown>") return ofV8 ? undefined : "a frame that is not known";
    return lineno === 0 ? undefined : "a line in what has none";
  }
  // Helpers that the compiler adds for decorators are in no source map.
  if (lineno === 0 && (ofV8 || filename.endsWith("/shifted.ts"))) return undefined;
  const lines = linesOf(filename), line = lines[lineno - 1];
  // What Deno puts around a CommonJS module, it counts behind it in some versions.
  if (line === undefined || (!pinned && lineno === lines.length)) {
    return !pinned && /\.c?js$/.test(filename) ? undefined : "no such line in the text";
  }
  // A module as a whole begins before its first statement, whatever stands there: memory is allocated for it then.
  const before = pinned ? 1 : Math.max(1, lines.findIndex((line) => !noCode.test(line)));
  return lineno > before && noCode.test(line) ? `no code on the line ${JSON.stringify(line)}` : undefined;
}

/** Blank lines and comments. */
const noCode = /^\s*(?:\/\/.*|\*(?:\s.*)?|\*\/|\/\*(?:(?!\*\/).)*(?:\*\/\s*)?)?$/;

/** What the command line writes behind what the program writes to standard error. */
const report = /Top 10 lines\n(?:#[^]*)?Total allocated size: [^\n]*\nThe snapshot is in [^\n]*\n$/;

function withoutReport(ended: Ended): Ended {
  const at = ended.stderr.lastIndexOf("Top 10 lines\n");
  const stderr = at < 0 ? "" : ended.stderr.slice(at);
  assert(report.test(stderr), `expected a report at the end of standard error:\n${ended.stderr}`);
  return { ...ended, stderr: ended.stderr.slice(0, at) };
}

for (const program of programs) {
  test(`${program.name} prints and ends as it does untraced`, () => {
    const untraced = deno([program.script]);
    assert(untraced.stdout.length > 0);
    for (const mode of ["run -n 1", "run -n 25"] as const) {
      assertEquals(withoutReport(trace(program, mode).ended), untraced, mode);
    }
    for (const mode of ["start(1)", "start(25)"] as const) assertEquals(trace(program, mode).ended, untraced, mode);
  });
}

/** Older versions turn a signal that `run` sends itself into an exit code, and their event loops have other frames at its end. */
function comparable(ended: Ended): Ended {
  if (pinned) return ended;
  const { code, signal } = ended;
  return {
    ...ended,
    ...(code === 143 && signal === null && { code: null, signal: "SIGTERM" }),
    stderr: ended.stderr.split("\n").filter((line) => !/^ {4}at .*\(ext:/.test(line)).join("\n"),
  };
}

const ends = `${root}tests/programs/ends.ts`;
const given = { input: "from standard input\n".repeat(5000), env: { GIVEN: "in the environment" } };
const passedOn = ["two words", "", "-x", "--flag=é", "--"];

for (
  const [way, code] of [
    ["return", 0],
    ["Deno.exit", 7],
    ["process.exit", 8],
    ["process.exit in a timer", 9],
    ["exit code", 10],
    ["exception", 1],
    ["exception in a timer", 1],
    ["exception handled", 0],
    ["rejection", 1],
    ["rejection handled", 0],
    ["signal", null],
  ] as const
) {
  test(`a program that ends by ${way} prints and ends as it does untraced, and leaves its snapshot`, () => {
    const untraced = deno([ends, way, ...passedOn], given);
    assertEquals([untraced.code, untraced.signal], [code, code === null ? "SIGTERM" : null], untraced.stderr);
    const { ended, snapshot } = inFolder((folder) => {
      const path = `${folder}/snapshot`;
      return { ended: run(["-o", path, ends, way, ...passedOn], given), snapshot: Snapshot.load(path) };
    });
    assertEquals(comparable(withoutReport(ended)), comparable(untraced));
    assertEquals(problemsOf(readMarks(ends, textOf(ends)), { ended, snapshot, tiers: undefined }), []);
  });
}
