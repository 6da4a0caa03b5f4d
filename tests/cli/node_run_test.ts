/** Programs on Node.js, run by the command line there. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { Snapshot } from "@x/tracemalloc";
import { node as executable } from "../tracer/node.ts";
import { root } from "./runtimes.ts";

const folder = mkdtempSync(join(tmpdir(), "tracemalloc-node-"));
after(() => rmSync(folder, { recursive: true }));

/** Writes a program, and returns its path. */
function program(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

function node(...args: readonly string[]) {
  const env = { ...process.env, NO_COLOR: "1", GIVEN: "to the program" };
  return spawnSync(executable, args, { encoding: "utf8", cwd: folder, env, input: "standard input\n" });
}

/** Runs a program traced. */
function run(...args: readonly string[]) {
  return node(`${root}cli.ts`, "run", ...args);
}

/** Who owns the blocks of a size: the most recent line of each. */
function owners(snapshot: string, size: number): string[] {
  const traces = [...Snapshot.load(join(folder, snapshot)).traces].filter((trace) => trace.size === size);
  return traces.map(({ traceback }) => String(traceback.at(-1)));
}

const ends = program(
  "ends.cjs",
  `const kept = globalThis.kept = [new Uint8Array(1_999_401)];
const { fork } = require("node:child_process"), { Worker, isMainThread } = require("node:worker_threads");
console.log(process.argv.slice(2), process.execArgv, Object.keys(process.env).sort(), Object.keys(process));
console.log(require.main === module, module.parent, process.env.GIVEN);
process.stdin.on("data", (data) => console.log("input", String(data)));
queueMicrotask(() => console.log("microtask"));
process.nextTick(() => console.log("next tick"));
process.on("exit", (code) => console.log("exit", code));
console.error("to standard error");
const ways = {
  return() {},
  exit() { process.exit(7); },
  "exit in a timer"() { process.stdin.on("data", () => setTimeout(() => process.exit(8), 1)); },
  "exit code"() { process.exitCode = 9; },
  exception() { throw new RangeError("nobody catches this"); },
  rejection() { Promise.reject(new Error("nobody handles this")); },
  handled() {
    process.on("uncaughtException", (error) => console.log("handled", error.message));
    throw new Error("somebody handles this");
  },
  fork() {
    const file = require("node:path").join(__dirname, "child.cjs");
    fork(file, ["argument"]).on("exit", (code) => console.log("child", code));
  },
  worker() { new Worker("console.log(process.execArgv)", { eval: true }); },
};
ways[process.argv[2]]();
`,
);
program("child.cjs", `console.log(process.argv.slice(2), process.execArgv, Object.keys(process.env).sort());`);

for (
  const way of ["return", "exit", "exit in a timer", "exit code", "exception", "rejection", "handled", "fork", "worker"]
) {
  test(`a program on Node that ends by "${way}" prints and ends as it does untraced, and leaves its snapshot`, () => {
    const untraced = node(ends, way, "ä ö", "-n"), traced = run("-o", "ends.snapshot", ends, way, "ä ö", "-n");
    assertEquals([traced.status, traced.signal], [untraced.status, untraced.signal], traced.stderr);
    assertEquals(traced.stdout, untraced.stdout);
    assertEquals(traced.stderr.slice(0, untraced.stderr.length), untraced.stderr);
    assertEquals(owners("ends.snapshot", 1_999_401), [`${ends}:1`]);
  });
}

for (const signal of ["SIGTERM", "SIGINT", "SIGHUP", "SIGABRT"]) {
  test(`a program on Node that ends by ${signal} leaves its snapshot`, () => {
    const script = program(
      "signal.cjs",
      `const kept = globalThis.kept = new Uint8Array(1_999_419); process.kill(process.pid, "${signal}"); for (;;);`,
    );
    assertEquals(run("-o", `${signal}.snapshot`, script).signal, signal);
    assertEquals(owners(`${signal}.snapshot`, 1_999_419), [`${script}:1`]);
  });
}

test("lines of modules, CommonJS, TypeScript, code of contexts and workers", () => {
  const common = program("common.cjs", "exports.kept =\n  new Uint8Array(1_999_403);");
  const typed = program(
    "typed.mts",
    `interface Gone {
  of: "types";
}
export const kept = (bytes: number): Uint8Array => {
  type Gone2 = Gone;
  return new Uint8Array(bytes) satisfies Gone2 | Uint8Array;
};`,
  );
  const worker = program(
    "worker.ts",
    `import { parentPort } from "node:worker_threads";
(globalThis as { kept?: unknown }).kept =
  new Uint8Array(1_999_407);
parentPort!.postMessage(0);
setInterval(() => {}, 1000);`,
  );
  const main = program(
    "main.mjs",
    `import { kept as first } from "./common.cjs";
import { kept as second } from "./typed.mts";
import vm from "node:vm";
import { Worker } from "node:worker_threads";
const context = vm.createContext({ Uint8Array });
const third = vm.runInContext("(\\n() => new Uint8Array(1_999_409))", context, { filename: "context.js", lineOffset: 7 });
const worker = new Worker(new URL("worker.ts", import.meta.url));
await new Promise((resolve) => worker.on("message", resolve));
globalThis.kept = [first, second(1_999_405), third()];
process.exit();`,
  );
  const { status, stderr } = run("-n", "9", "-o", "lines.snapshot", main);
  assertEquals(status, 0, stderr);
  const found = [1_999_403, 1_999_405, 1_999_407, 1_999_409].flatMap((size) => owners("lines.snapshot", size));
  assertEquals(found, [`${common}:2`, `${typed}:6`, `${worker}:3`, "context.js:9"]);
  // Frames of Node's own code are left out where the program has some.
  const traceback = [...Snapshot.load(join(folder, "lines.snapshot")).traces].find(({ size }) => size === 1_999_405)!
    .traceback;
  assertEquals([...traceback].map(String), [`${main}:9`, `${typed}:6`]);
});

/** A source map that says: line 1, column 1 of the text and all behind it is line 21 of `original.ts`. */
const map = JSON.stringify({ version: 3, sources: ["original.ts"], names: [], mappings: "AAoBA" });
const inline = `//# sourceMappingURL=data:application/json;base64,${btoa(map)}`;

test("source maps: those in the script, and with --enable-source-maps those beside it, also where the shim saves", () => {
  const original = `${join(folder, "original.ts")}:21`;
  writeFileSync(join(folder, "beside.map"), map);
  let number = 0;
  const owner = (script: string, ...flags: string[]): string[] => {
    const snapshot = `maps${++number}.snapshot`;
    run("-o", snapshot, "--runtime-flags", flags.join(" "), script);
    return owners(snapshot, 1_999_411);
  };
  for (const [name, comment] of [["inline", inline], ["beside", "//# sourceMappingURL=beside.map"]] as const) {
    const text = "globalThis.kept = new Uint8Array(1_999_411);";
    for (const ending of ["cjs", "mjs"]) {
      const script = program(`${name}.${ending}`, `${text}\n${comment}\n`);
      assertEquals(owner(script, "--enable-source-maps"), [original], script);
      assertEquals(owner(script), [name === "inline" ? original : `${script}:1`]);
    }
    const killed = program(
      `${name}_killed.cjs`,
      `${text} process.kill(process.pid, "SIGTERM"); for (;;);\n${comment}\n`,
    );
    assertEquals(owner(killed, "--enable-source-maps"), [original], killed);
  }
});

test("the permission model: without --allow-addons the error names it, with it tracing works", () => {
  const script = program(
    "permission.mjs",
    `import { start, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
start();
const kept = new Uint8Array(1_999_413);
for (const trace of takeSnapshot().traces) if (trace.size === kept.length) console.log(String(trace.traceback));`,
  );
  node(script); // builds the shim
  const refused = node("--permission", "--allow-fs-read=*", script);
  assertEquals([refused.status, refused.stdout], [1, ""]);
  assertMatch(refused.stderr, /UnsupportedError.*: loading the shim needs a permission: add --allow-addons\n/);
  const allowed = node("--permission", "--allow-fs-read=*", "--allow-addons", script);
  assertEquals([allowed.status, allowed.stdout], [0, `${script}:3\n`], allowed.stderr);
});

test("objects of the engine's heap", () => {
  const script = program(
    "objects.mjs",
    `class Point {}
const kept = globalThis.kept = [];
for (let i = 0; i < 20_000; i++) {
  kept.push(
    new Point(),
  );
}`,
  );
  const { status, stderr } = run("--domains", "js-heap", "--js-interval", "1", "-o", "objects.snapshot", script);
  assertEquals(status, 0, stderr);
  const statistics = Snapshot.load(join(folder, "objects.snapshot")).statistics("lineno");
  const points = statistics.find(({ traceback }) => String(traceback) === `${script}:5`);
  // The first few take more: shapes of objects, and what the engine learns.
  assert(points !== undefined && points.count >= 20_000 && points.count < 20_050, String(points));
  assert(points.size >= 20_000 * 24 && points.size <= 20_000 * 64, String(points));
});

test("children are followed where that is asked for", () => {
  const child = program("followed.cjs", `globalThis.kept = new Uint8Array(1_999_415);`);
  const parent = program(
    "parent.mjs",
    `import { fork, spawnSync } from "node:child_process";
globalThis.kept = new Uint8Array(1_999_417);
spawnSync(process.execPath, [${JSON.stringify(child)}]);
fork(${JSON.stringify(child)});`,
  );
  const { status, stderr } = run("--follow-children", "-o", "parent.snapshot", parent);
  assertEquals(status, 0, stderr);
  assertEquals(owners("parent.snapshot", 1_999_417), [`${parent}:2`]);
  const children = readdirSync(folder).filter((name) => /^parent\.\d+\.snapshot$/.test(name));
  assertEquals(children.map((name) => owners(name, 1_999_415)), [[`${child}:1`], [`${child}:1`]], stderr);
});
