import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { dumpSnapshot, loadSnapshot } from "../../lib/format/file.ts";
import { columnsOf } from "../format/snapshots.ts";
import { cli, root, shell } from "./runtimes.ts";

const folder = mkdtempSync(join(tmpdir(), "tracemalloc-cli-"));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

const source = path("app.ts");
writeFileSync(source, "const a = 1;\n  cache.set(key, new Uint8Array(1999993));\nserve();\n");
const library = "file:///srv/node_modules/lib/index.js";
const trace = { domain: 0, total: null };
const older = columnsOf([
  { ...trace, size: 1_999_993, count: 1, frames: [[source, 3], [source, 2]] },
  { ...trace, size: 100, count: 5, frames: [[source, 3], [library, 7]] },
], 25);
const newer = columnsOf([
  { ...trace, size: 1_999_993, count: 3, frames: [[source, 3], [source, 2]] },
  { ...trace, size: 100, count: 5, frames: [[source, 3], [library, 7]] },
  { ...trace, size: 64, count: 2, domain: 1, frames: [["<native>", 0]] },
], 25);
dumpSnapshot(path("old"), older, { runtime: "deno", runtimeVersion: "2.9.6" });
dumpSnapshot(path("new"), newer, {
  runtime: "deno",
  runtimeVersion: "2.9.6",
  engine: "V8 15.0.245.2",
  platform: "linux-x86_64",
  pid: 4711,
  createdAt: 1700000000000,
  calibration: new Map([["Code.instruction_start", "40"]]),
  attribution: [{ reason: "javascript", blocks: 8, bytes: 6_000_479 }, { reason: "native", blocks: 2, bytes: 128 }],
});
writeFileSync(path("cut"), readFileSync(path("new")).subarray(0, -30));

/** Runs, and takes for granted that all is well. */
function output(...args: readonly string[]): string {
  const { code, stdout, stderr } = cli(...args);
  assertEquals([code, stderr], [0, ""]);
  return stdout;
}

test("top shows rank, place, numbers, source lines, the rest and the sum", () => {
  assertEquals(
    output("top", path("new"), "-n", "2"),
    `Top 2 lines
#1: ${source}:2: size=5859 KiB, count=3, average=1953 KiB
    cache.set(key, new Uint8Array(1999993));
#2: ${library}:7: size=500 B, count=5, average=100 B
1 other: 128 B
Total allocated size: 5860 KiB
`,
  );
});

test("top --by filename, traceback, and cumulative", () => {
  assertStringIncludes(output("top", path("new"), "--by=filename"), `#1: ${source}:0: size=5859 KiB, count=3,`);
  assertStringIncludes(
    output("top", path("new"), "--by", "traceback"),
    `#1: size=5859 KiB, count=3, average=1953 KiB
  File "${source}", line 3
    serve();
  File "${source}", line 2
    cache.set(key, new Uint8Array(1999993));
`,
  );
  const cumulative = output("top", path("new"), "--cumulative", "-n1");
  assertStringIncludes(cumulative, `#1: ${source}:3: size=5860 KiB, count=8,`);
  assertStringIncludes(cumulative, "3 other\nTotal allocated size: 5860 KiB\n");
});

test("top takes only what the filters let through", () => {
  assertMatch(output("top", path("new"), "--include", "*/node_modules/*"), /^Top 1 lines\n#1: file.*: size=500 B/);
  assertMatch(output("top", path("new"), "--exclude", source), /size=500 B.*\n#2: <native>:0: size=128 B/);
  assertMatch(output("top", path("new"), "--domain", "js-heap"), /^Top 1 lines\n#1: <native>:0: size=128 B/);
  assertMatch(output("top", path("new"), "--domain=1", "--domain=native"), /^Top 3 lines/);
  assertEquals(
    output("top", path("new"), "--domain", "1", "--include", source),
    "Top 0 lines\nTotal allocated size: 0 B\n",
  );
});

test("top --json", () => {
  assertEquals(JSON.parse(output("top", path("new"), "--json", "-n", "1")), {
    keyType: "lineno",
    cumulative: false,
    groups: 3,
    total: { size: 6_000_607, count: 10 },
    statistics: [{ traceback: [{ filename: source, lineno: 2 }], size: 5_999_979, count: 3 }],
  });
});

test("diff shows what changed", () => {
  assertEquals(
    output("diff", path("old"), path("new"), "-n2"),
    `Top 2 changes of lines
#1: ${source}:2: size=5859 KiB (+3906 KiB), count=3 (+2), average=1953 KiB
    cache.set(key, new Uint8Array(1999993));
#2: <native>:0: size=128 B (+128 B), count=2 (+2), average=64 B
1 other: 500 B (+0 B)
Total allocated size: 5860 KiB (+3906 KiB)
`,
  );
  const report = JSON.parse(output("diff", path("new"), path("old"), "--json", "--cumulative", "-n1"));
  assertEquals(report.total, { size: 2_000_493, sizeDiff: -4_000_114, count: 6, countDiff: -4 });
  assertEquals(report.differences.length, 1);
});

test("info shows where a snapshot comes from and what it holds", () => {
  assertEquals(
    output("info", path("new")),
    `runtime          deno 2.9.6
engine           V8 15.0.245.2
platform         linux-x86_64
process          4711
created          2023-11-14T22:13:20.000Z
traceback limit  25

blocks           10
bytes            6000607 (5860 KiB)
distinct traces  3
tracebacks       3
lines            4
files            3

domains:
  native   8 blocks  5860 KiB
  js-heap  2 blocks  128 B

attribution:
  javascript  8 blocks  5860 KiB
  native      2 blocks  128 B

calibration:
  Code.instruction_start  40
`,
  );
  const report = JSON.parse(output("info", path("new"), "--json"));
  assertEquals([report.pid, report.totals.blocks, report.calibration], [4711, 10, { "Code.instruction_start": "40" }]);
});

test("merge makes one of many", () => {
  output("merge", path("merged"), path("old"), path("new"), path("new"));
  const { totals, columns } = loadSnapshot(path("merged"));
  assertEquals([totals.rows, totals.blocks, totals.tracebacks, columns.tracebackLimit], [3, 26, 3, 25]);
  rmSync(path("merged"));
});

test("export writes the formats, of one snapshot or of two", () => {
  assertEquals(
    output("export", path("new"), "--to", "collapsed"),
    `${source}:3;${source}:2 5999979\n${source}:3;${library}:7 500\n<native> 128\n`,
  );
  assertEquals(
    output("export", path("old"), path("new"), "--to=collapsed", "--exclude", "*/node_modules/*"),
    `${source}:3;${source}:2 1999993 5999979\n<native> 0 128\n`,
  );
  const report = JSON.parse(output("export", path("new"), "--to", "json", "--domain", "native"));
  assertEquals([report.metadata.pid, report.tracebackLimit], [4711, 25]);
  assertEquals(report.total, { size: 6_000_479, count: 8 });
  output("export", path("new"), "--to", "pprof", "-o", path("out"));
  const { stdout } = shell(`$CLI export '${path("new")}' --to pprof | cmp - '${path("out")}' && echo same`);
  assertEquals(stdout, "same\n");
  rmSync(path("out"));
});

test("report writes a page, beside the snapshot unless it is told where", () => {
  const said = output("report", path("new"));
  assertEquals(said, `The report is in ${path("new")}.html: open it in a browser.\n`);
  const html = readFileSync(path("new.html"), "utf8");
  // The source is not under the working folder.
  assert(html.includes(source) && !html.includes("cache.set(key"));
  output("report", path("new"), path("old"), "--sources=all", "--include", source, "-o", path("new.html"));
  const both = readFileSync(path("new.html"), "utf8");
  assert(both.includes("cache.set(key") && !both.includes(library));
  rmSync(path("new.html"));
});

test("import makes a snapshot of what CPython dumped", () => {
  const pickle = `${root}tests/format/pickles/cpython-3.13.pickle`;
  output("import", pickle, path("imported"));
  const { metadata, totals, columns } = loadSnapshot(path("imported"));
  assertEquals([metadata, totals.blocks, columns.tracebackLimit], [{ runtime: "cpython" }, 41, 4]);
  assertStringIncludes(output("top", path("imported"), "-n1"), "#1: /tmp/trace.py:17: size=13.8 KiB, count=4,");
  // What is wrong leaves the old file as it was.
  for (const [source, text] of [[path("cut"), "at byte 0, there should be the protocol"], [folder, "it is a folder"]]) {
    const { code, stdout, stderr } = cli("import", source!, path("imported"));
    assertEquals([code, stdout, stderr.trimEnd().split("\n").length], [1, "", 1]);
    assertStringIncludes(stderr, `tracemalloc import: `);
    assertStringIncludes(stderr, text!);
    assertEquals(loadSnapshot(path("imported")).totals.blocks, 41);
  }
  rmSync(path("imported"));
});

test("a cut file is an error, and with --partial a warning", () => {
  const refused = cli("top", path("cut"));
  assertEquals([refused.code, refused.stdout], [1, ""]);
  assertMatch(refused.stderr, /^tracemalloc top: .*\/cut: the snapshot is cut or damaged: .*\n$/);
  const out = path("out");
  const commands = [
    ["top", path("cut")],
    ["info", path("cut")],
    ["diff", path("cut"), path("cut")],
    [
      "merge",
      out,
      path("cut"),
    ],
    ["report", path("cut"), "-o", out],
    ["export", path("cut"), "--to", "collapsed"],
  ];
  for (const command of commands) {
    const strict = cli(...command);
    assertEquals([strict.code, strict.stdout, strict.stderr.trimEnd().split("\n").length], [1, "", 1]);
    const taken = cli(...command, "--partial");
    assertEquals(taken.code, 0);
    assertMatch(
      taken.stderr,
      /^(tracemalloc: warning: .*\/cut is cut or damaged: .*; what is taken is what was whole\n)+$/,
    );
    if (["top", "info", "diff"].includes(command[0]!)) assertStringIncludes(taken.stdout, "5860 KiB");
    if (command[0] === "merge") {
      const { totals, columns } = loadSnapshot(out);
      assertEquals([totals.blocks, columns.tracebackLimit], [10, 25]);
    }
  }
  rmSync(out);
});

test("usage errors are one line and exit code 2", () => {
  const wrong: [string[], string][] = [
    [[], "tracemalloc: a command is missing"],
    [["tpo"], "tracemalloc: unknown command tpo; did you mean top?"],
    [["--verson"], "tracemalloc: unknown option --verson"],
    [["top"], "tracemalloc top: FILE is what it needs, and 0 of them were given"],
    [["top", "a", "b"], "tracemalloc top: unexpected argument b"],
    [["top", ""], "tracemalloc top: the path of a file is empty"],
    [["top", "--inculde", "x", "a"], "tracemalloc top: unknown option --inculde; did you mean --include?"],
    [["top", "a", "--by"], "tracemalloc top: --by needs a value: --by KEY"],
    [["top", "a", "--by", "line"], "tracemalloc top: --by must be lineno, filename, traceback, not line"],
    [["top", "a", "--json=yes"], 'tracemalloc top: --json takes no value, but was given "yes"'],
    [["top", "a", "-n", "-1"], "tracemalloc top: -n must be a whole number, not -1"],
    [["top", "a", "--by", "traceback", "--cumulative"], "tracemalloc top: --cumulative needs --by lineno"],
    [["top", "a", "--domain", "natve"], "tracemalloc top: --domain must be native, js-heap, array-buffer, mmap or"],
    [["diff", "a"], "tracemalloc diff: OLD NEW is what it needs, and 1 of them were given"],
    [["export", "a"], "tracemalloc export: --to is missing: pprof, speedscope, collapsed, heapprofile, csv, json"],
    [["export", "a", "--to", "pprf"], "tracemalloc export: --to must be pprof, speedscope, collapsed,"],
    [["export", "a", "b", "--to", "speedscope"], "speedscope has no differences: give one snapshot, or use pprof,"],
    [["export", "a", "--to", "json", "-o", ""], "tracemalloc export: the path of the output is empty"],
    [["report", "a", "--sources", "some"], "tracemalloc report: --sources must be none, cwd, all, not some"],
    [["report", "a", "b", "c"], "tracemalloc report: unexpected argument c"],
    [["report", "a", "-o", ""], "tracemalloc report: the path of the output is empty"],
    [["import", "a"], "tracemalloc import: PICKLE OUT is what it needs, and 1 of them were given"],
    [["merge", "a"], "tracemalloc merge: OUT FILE… is what it needs, and 1 of them were given"],
  ];
  for (const [args, message] of wrong) {
    const { code, stdout, stderr } = cli(...args);
    assertEquals([code, stdout, stderr.trimEnd().split("\n").length], [2, "", 1], stderr);
    assertStringIncludes(stderr, message);
  }
});

test("failures are one line and exit code 1", () => {
  const failing: [string[], string][] = [
    [["top", path("none")], `tracemalloc top: cannot read ${path("none")}: there is no such file; check the path`],
    [["info", folder], `tracemalloc info: cannot read ${folder}: it is a folder; give the path of a file`],
    [
      ["top", source],
      `tracemalloc top: ${source}: not a snapshot file: byte 0 of the magic should be 0x89 and is 0x63`,
    ],
    [["diff", path("old"), path("none")], `tracemalloc diff: cannot read ${path("none")}: there is no such file`],
    [["export", path("none"), "--to", "csv"], `tracemalloc export: cannot read ${path("none")}: there is no such file`],
    [
      ["export", path("new"), "--to", "csv", "-o", folder],
      `tracemalloc export: cannot write ${folder}: it is a folder`,
    ],
    [["export", path("new"), "--to", "csv", "-o", "/dev/full"], "tracemalloc export: cannot write /dev/full: the disk"],
    [["report", path("none")], `tracemalloc report: cannot read ${path("none")}: there is no such file`],
    [["report", path("new"), "-o", folder], `tracemalloc report: cannot write ${folder}: it is a folder`],
    [["merge", folder, path("old")], `tracemalloc merge: cannot write ${folder}: it is a folder`],
    [["merge", path("no/out"), path("old")], `tracemalloc merge: cannot write ${path("no/out")}: the folder`],
    [["merge", "/dev/full", path("old")], "tracemalloc merge: cannot write /dev/full: the disk is full"],
  ];
  for (const [args, message] of failing) {
    const { code, stdout, stderr } = cli(...args);
    assertEquals([code, stdout, stderr.trimEnd().split("\n").length], [1, "", 1], stderr);
    assertStringIncludes(stderr, message);
  }
  assertEquals(readdirSync(folder).sort(), ["app.ts", "cut", "new", "old"]);
});

test("a reader that goes away ends it quietly", () => {
  const golden = `${root}schema/golden/1.0/batches.tracemalloc`;
  const { stdout, stderr } = shell(`$CLI top '${golden}' -n 100000 | head -n 1; exit "\${PIPESTATUS[0]}"`);
  assertEquals([stdout, stderr], ["Top 2500 lines\n", ""]);
});

test("output that cannot be written is an error", () => {
  const { code, stderr } = shell(`$CLI top '${path("new")}' > /dev/full`);
  assertEquals([code, stderr.trimEnd().split("\n").length], [1, 1], stderr);
  assertStringIncludes(stderr, "tracemalloc top: cannot write to standard output");
});

test("help of the program and of each command", () => {
  for (const args of [["--help"], ["help"]]) assertMatch(output(...args), /^Usage: tracemalloc COMMAND …\n\n {2}/);
  for (const command of ["top", "diff", "tree", "info", "merge", "report", "import", "export"]) {
    assertMatch(output(command, "--help"), new RegExp(`^Usage: tracemalloc ${command} \\[OPTION…\\] `));
  }
});
