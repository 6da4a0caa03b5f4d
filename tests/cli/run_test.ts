import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Snapshot } from "@x/tracemalloc";
import { deno } from "../tracer/deno.ts";
import { cli, root } from "./runtimes.ts";

const folder = mkdtempSync(join(tmpdir(), "tracemalloc-run-"));
after(() => rmSync(folder, { recursive: true }));
chmodSync(folder, 0o755);
const path = (name: string) => join(folder, name);

const onDeno = ["--runtime", "deno"];

/** Programs are run by the pinned Deno, whichever runtime the command line runs on. */
function run(args: readonly string[], options: { env?: NodeJS.ProcessEnv; input?: string; uid?: number } = {}) {
  const { env, ...rest } = options;
  return spawnSync(deno, ["run", "-A", `${root}cli.ts`, "run", ...args], {
    encoding: "utf8",
    cwd: folder,
    env: { ...process.env, ...env },
    ...rest,
  });
}

/** The command line's own report, which follows what the program wrote. */
function split(stderr: string): { program: string; report: string } {
  const at = stderr.search(/^(Top \d+ lines|tracemalloc run: )/m);
  return { program: stderr.slice(0, at < 0 ? undefined : at), report: at < 0 ? "" : stderr.slice(at) };
}

writeFileSync(
  path("program.ts"),
  `interface Shifts {
  the: "lines";
}
const kept: Uint8Array[] = [];
(globalThis as unknown as { kept: unknown }).kept = kept;
const input = await new Response(Deno.stdin.readable).text();
for (let i = 0; i < 5; i++) kept.push(new Uint8Array(1_999_901)); // line 7
console.log(JSON.stringify({ args: Deno.args, input, env: Object.keys(Deno.env.toObject()).sort() }));
console.error("to standard error");
switch (Deno.args[0]) {
  case "exit":
    Deno.exit(7);
  case "throw":
    throw new Error("thrown on purpose");
  case "reject":
    Promise.reject(new Error("rejected on purpose"));
    break;
  case "signal":
    Deno.kill(Deno.pid, "SIGKILL");
}
`,
);

test("a program runs as without us: arguments, streams, environment, exit code", () => {
  for (
    const [kind, code] of [["end", 0], ["exit", 7], ["throw", 1], ["reject", 1]] as const
  ) {
    const args = ["program.ts", kind, "--flag", "-n", "ä ö"];
    const input = "from standard input\n";
    const plain = spawnSync(deno, ["run", "-A", ...args], { encoding: "utf8", cwd: folder, input });
    const traced = run(["-o", `${kind}.snapshot`, ...args], { input });
    assertEquals(plain.status, code);
    assertEquals([traced.status, traced.signal], [plain.status, plain.signal], traced.stderr);
    assertEquals(traced.stdout, plain.stdout);
    const { program, report } = split(traced.stderr);
    assertEquals(program, plain.stderr);
    assertMatch(report, /^Top \d+ lines\n#1: .*\/program\.ts:7: size=9766 KiB, count=\d+, average=/);
    const traces = [...Snapshot.load(path(`${kind}.snapshot`)).traces].filter(({ size }) => size === 1_999_901);
    assertEquals(traces.map(({ traceback }) => String(traceback)), Array(5).fill(`${path("program.ts")}:7`));
  }
});

test("a program that is killed: no snapshot, it is said, and we end as it did", () => {
  const { signal, stderr } = run(["-o", "none.snapshot", "program.ts", "signal"], { input: "" });
  assertEquals(signal, "SIGKILL");
  assertEquals(split(stderr).report, "tracemalloc run: there is no snapshot: the program ended by SIGKILL\n");
  assert(!readdirSync(folder).includes("none.snapshot"));
});

test("signals are passed on", async () => {
  writeFileSync(
    path("waits.ts"),
    `Deno.addSignalListener("SIGTERM", () => { console.log("got it"); Deno.exit(9); });
setInterval(() => {}, 1000);
console.log("ready");`,
  );
  const child = spawn(deno, ["run", "-A", `${root}cli.ts`, "run", "-o", "waits.snapshot", "waits.ts"], {
    cwd: folder,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  child.stdout.on("data", (data) => {
    output += data;
    // Not child.kill(): Deno then takes the child to have ended by that signal.
    if (output === "ready\n") process.kill(child.pid!, "SIGTERM");
  });
  child.stderr.resume();
  const code = await new Promise((resolve) => child.on("exit", resolve));
  assertEquals([output, code], ["ready\ngot it\n", 9]);
  assert(Snapshot.load(path("waits.snapshot")).traces.length > 0);
});

test("without -o the snapshot is named after the program and its process", () => {
  const work = path("work");
  mkdirSync(work);
  writeFileSync(join(work, "small.js"), "console.log(Deno.pid)");
  const { stdout, stderr } = run(["small.js"], { env: { PWD: work }, ...{ cwd: work } });
  const name = `tracemalloc-small.js.${stdout.trim()}.snapshot`;
  assertEquals(readdirSync(work).sort(), ["small.js", name]);
  assertMatch(stderr, new RegExp(`The snapshot is in ${name}: `));
});

test("-n keeps so many frames", () => {
  writeFileSync(
    path("deep.js"),
    `const kept = globalThis.kept = [];
function a() { kept.push(new Uint8Array(1_999_903)); }
function b() { a(); }
function c() { b(); }
c();`,
  );
  assertEquals(run(["-n", "3", "-o", "deep.snapshot", "deep.js"]).status, 0);
  const snapshot = Snapshot.load(path("deep.snapshot"));
  const [trace] = [...snapshot.traces].filter(({ size }) => size === 1_999_903);
  assertEquals([...trace!.traceback].map(({ lineno }) => lineno), [4, 3, 2]);
  assertEquals(snapshot.tracebackLimit, 3);
});

test("a program with fewer permissions, and one in a project with names of its own", () => {
  const project = path("project");
  mkdirSync(project);
  writeFileSync(join(project, "deno.json"), `{ "imports": { "flatbuffers": "./own.ts", "@std/path": "./own.ts" } }`);
  writeFileSync(join(project, "own.ts"), `export const own = new Uint8Array(1_999_905);`);
  writeFileSync(
    join(project, "main.ts"),
    `import { own } from "flatbuffers";
import { own as same } from "@std/path";
const { state } = await Deno.permissions.query({ name: "read" });
console.log(own === same, own.length, state);`,
  );
  const { status, stdout, stderr } = run(
    ["-o", "project.snapshot", "--runtime-flags", "--no-prompt --allow-env", join(project, "main.ts")],
  );
  assertEquals([status, stdout], [0, "true 1999905 prompt\n"], stderr);
  const traces = [...Snapshot.load(path("project.snapshot")).traces].filter(({ size }) => size === 1_999_905);
  assertEquals(traces.map(({ traceback }) => String(traceback)), [`${join(project, "own.ts")}:1`]);
});

test("a program has no permission that was not asked for", () => {
  writeFileSync(
    path("asks.ts"),
    `for (const name of ["read", "write", "net", "run", "env", "sys", "ffi", "import"] as const) {
  const { state } = await Deno.permissions.query({ name });
  if (state === "granted") console.log(name);
}`,
  );
  for (const [flags, granted] of [["--no-prompt", ""], ["--no-prompt --allow-net", "net\n"]] as const) {
    const { status, stdout, stderr } = run(["-o", "asks.snapshot", "--runtime-flags", flags, "asks.ts"]);
    assertEquals([status, stdout], [0, granted], stderr);
  }
});

/** One line, and the exit code. */
function refused(
  args: readonly string[],
  code: number,
  message: RegExp,
  options: Parameters<typeof run>[1] = {},
): void {
  const { status, stdout, stderr } = run(args, options);
  assertMatch(stderr, /^[^\n]+\n$/, "one line is expected");
  assertMatch(stderr, message);
  assertEquals([status, stdout], [code, ""]);
}

test("what is wrong with the command line is said in one line", () => {
  refused([], 2, /^tracemalloc run: SCRIPT/);
  for (const limit of ["0", "65536", "-1", "x", "1.5", ""]) {
    refused(["-n", limit, "program.ts"], 2, /^tracemalloc run: -n must be a whole number from 1 to 65535, not /);
  }
  for (const names of ["", "heap", "native,", "native,native js-heap"]) {
    refused(
      ["--domains", names, "program.ts"],
      2,
      /^tracemalloc run: --domains must be of native, js-heap, array-buffer, mmap, not /,
    );
  }
  for (const bytes of ["0", "x", "1.5", "-1", "", "8KiB"]) {
    refused(
      ["--js-interval", bytes, "program.ts"],
      2,
      /^tracemalloc run: --js-interval must be a whole number from 1 to /,
    );
  }
  refused(["--runtime", "demo", "program.ts"], 2, /--runtime must be one of deno, bun, node, not demo/);
  for (const every of ["10", "s", "0s", "-1s", "10 parsecs", "1e3s", ""]) {
    refused(["--sample", every, "program.ts"], 2, /--sample must be a whole number and one of B, KiB, MiB, /);
    refused(["--every", every, "program.ts"], 2, /--every must be a number and one of ms, s, .*, as in 10s, not /);
  }
  for (const name of ["SIGKILL", "SIGSEGV", "USR2", ""]) {
    refused(["--signal", name, "program.ts"], 2, /--signal must be the name of a signal that can be caught, .* not /);
  }
  refused(["--outptu", "x", "program.ts"], 2, /unknown option --outptu/);
});

test("what cannot be done is said in one line, before the program runs", () => {
  refused(["missing.ts"], 1, /^tracemalloc run: there is no script missing\.ts\n$/);
  refused([folder], 1, /is a folder, not a script/);
  refused(["-o", path("nowhere/x"), "program.ts"], 1, /there is no folder .*nowhere for the snapshot/);
  refused(["-o", folder, "program.ts"], 1, /is a folder: name a file for the snapshot/);
  writeFileSync(path("node"), "#!/bin/sh\necho undefined v20.20.2\n");
  chmodSync(path("node"), 0o755);
  refused(
    ["--runtime", "node", "program.ts"],
    1,
    /\/node is Node v20\.20\.2, which runs no TypeScript: put 22\.18 or newer on the PATH\n$/,
    { env: { PATH: `${folder}:${process.env["PATH"]}` } },
  );
  refused(["program.ts"], 1, /the C compiler no-such-compiler cannot be started: install one .* \$CC/, {
    env: { CC: "no-such-compiler" },
  });
  writeFileSync(path("failing-cc"), "#!/bin/sh\necho 'x.c:1: error: no such luck' >&2\nexit 1\n");
  chmodSync(path("failing-cc"), 0o755);
  refused(["program.ts"], 1, /the C compiler .*failing-cc could not build the shim: x\.c:1: error: no such luck/, {
    env: { CC: path("failing-cc") },
  });
});

test("a folder that may not be written to is named before the program runs", () => {
  const closed = path("closed");
  mkdirSync(closed, 0o555);
  const home = path("home");
  mkdirSync(home, 0o777);
  chmodSync(home, 0o777);
  // Root may write everywhere.
  const uid = process.getuid?.() === 0 ? { uid: 65534 } : {};
  refused(["-o", join(closed, "x"), "program.ts"], 1, /no permission to write the snapshot into the folder .*closed/, {
    env: { HOME: home, DENO_DIR: home },
    ...uid,
  });
});

test("the command line of every runtime can run a program on Deno", () => {
  const bin = fileURLToPath(new URL("../../node_modules/.bin", import.meta.url));
  const before = process.env["PATH"];
  process.env["PATH"] = `${bin}:${before}`;
  try {
    const { code, stderr } = cli("run", ...onDeno, "-o", path("any.snapshot"), path("deep.js"));
    assertEquals(code, 0, stderr);
    assertMatch(stderr, /^Top \d+ lines\n(#.*\n)*#\d+: .*\/deep\.js:2: size=1953 KiB/);
  } finally {
    process.env["PATH"] = before;
  }
});

test("a plain start() without a permission names the flag", () => {
  writeFileSync(
    path("starts.ts"),
    `import { start, takeSnapshot, UnsupportedError } from "${root}mod.ts";
try {
  start();
  const kept = new Uint8Array(1_999_921);
  for (const trace of takeSnapshot().traces) if (trace.size === kept.length) console.log(trace.traceback.at(-1).lineno);
} catch (error) {
  if (!(error instanceof UnsupportedError)) throw error;
  console.log(error.message);
}`,
  );
  const start = (...flags: string[]) =>
    spawnSync(deno, ["run", "--no-prompt", `--config=${root}deno.json`, ...flags, path("starts.ts")], {
      encoding: "utf8",
    });
  for (
    const [flags, output] of [
      [[], /^loading the shim needs a permission: add --allow-ffi \(or --allow-ffi=\/.*\.so\)\n$/],
      [["--allow-ffi"], /^V8 keeps no source positions by itself, .* add --allow-sys, or run the program with `trace/],
      [["--allow-ffi", "--allow-sys"], /^4\n$/],
      [["-A"], /^4\n$/],
    ] as const
  ) {
    const { status, stdout, stderr } = start(...flags);
    assertEquals([status, stderr], [0, ""]);
    assertMatch(stdout, output);
  }
});
