/** The records of V8's heap profiler are verified at start, by objects of our own: lib/runtime/v8_verify.ts. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { deno } from "./deno.ts";
import { folder, mistakenHead, perturbed, programOf, root, run } from "./heap_programs.ts";
import { node } from "./node.ts";

/** What the shim can take wrong, and why it is refused then. */
const mistakes: Record<string, RegExp> = {
  "record_line 1": /one of the test's literals is of line \d+8, column \d+, not \d+7, /,
  "record_column 1": /one of the test's literals is of line (\d+), column \d+, not \1, /,
  "record_size 8": /one of the test's literals has 216 bytes, not 208 or 224/,
  "record_number 5": /one of the test's literals has no record of its own/,
  "handler_offset 1": /one of the test's \w+s is of line \d+, column \d+, not/,
  "confirmed_bytes 8": /one of the test's literals has no record of its own/,
  "confirmed_size 8": /V8 has made more of them than were seen/,
  "confirmed_profiler 8": /V8 has made more of them than were seen/,
  "confirmed_id 8": /V8 has made more of them than were seen/,
  "confirmed_handle 8": /one of the test's literals has no record of its own/,
};

test("a mistake in the records is noticed at start: their lines are not used, and it is said once", () => {
  // Half of them under each of the runtimes that run the tests.
  for (const mistake of Object.keys(mistakes).filter((_, i) => i % 2 === ("Bun" in globalThis ? 1 : 0))) {
    const { stdout, stderr } = perturbed(
      "mistake",
      mistake,
      `const kept: object[] = [];
for (let i = 0; i < 2; i++) {
  api.start(1, { domains: ["js-heap"], jsInterval: 1 });
  for (let i = 0; i < 1000; i++) kept.push({ i });
  // Before V8 has made a profile of its own, nothing is known.
  console.log(api.takeSnapshot({ gc: true }).traces.length, api.getObjectTraceback(kept[7]!));
  api.stop();
}`,
    );
    assertEquals(stdout, "0 null\n".repeat(2), mistake);
    const [first, second, ...others] = stderr.trimEnd().split("\n");
    assertMatch(
      first!,
      /^tracemalloc: objects of the js-heap domain by function, and not by line: the records of V8's /,
    );
    assertMatch(first!, mistakes[mistake]!);
    assertEquals([second, others], [first, []], "at each start");
  }
});

/** The sizes of closures: what they are is not known before. */
const late = "record_56 8";

const lineOf = `
const linesOf = (name: string) => {
  const lines: Record<string, number> = {};
  for (const { traceback, size } of api.takeSnapshot({ gc: true }).statistics("lineno")) {
    const { filename, lineno } = traceback.at(0)!;
    if (filename.endsWith(name)) lines[lineno] = size;
  }
  return lines;
};
const turn = () => new Promise((resolve) => setTimeout(resolve, 200));
`;

test("V8's own profile has something else: from then on objects are known by function, by all threads, and it is said", () => {
  const output = join(folder, "late");
  writeFileSync(
    join(folder, "late_worker.ts"),
    `${mistakenHead()}
const kept: object[] = [];
function make(i: number) {

  return { i };
}
${lineOf}
addEventListener("message", async ({ data }) => {
  if (data === "start") api.start(1, { domains: ["js-heap"], jsInterval: 64 });
  if (data === "profile") {
    linesOf("");
    await turn();
  }
  for (let i = 0; i < 5000; i++) kept.push(make(i));
  if (data === "lines") {
    linesOf("");
    await turn();
  }
  postMessage(linesOf("late_worker.ts"));
});`,
  );
  const { stdout, stderr } = perturbed(
    "late",
    late,
    `${lineOf}
function make(i: number) {

  return { i };
}
const kept: object[] = [];
const worker = new Worker(new URL("./late_worker.ts", import.meta.url), { type: "module" });
const tell = (what: string) =>
  new Promise<Record<string, number>>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = reject;
    worker.postMessage(what);
  });
// So many objects, of 32 or 48 bytes; give or take a tenth.
const areObjects = (size: number | undefined, count: number) => size! > 29 * count && size! < 53 * count || size;
api.start(1, { domains: ["js-heap"], jsInterval: 64 });
for (let i = 0; i < 5000; i++) kept.push(make(i));
console.log(areObjects(linesOf("late.ts")[15], 5000));
await turn();
// What was recorded before is gone, and what comes is known by where its function begins.
for (let i = 0; i < 5000; i++) kept.push(make(i));
linesOf("");
await turn();
const lines = linesOf("late.ts");
console.log(lines[15] ?? 0, areObjects(lines[13], 5000));
await tell("start");
await tell("profile");
const theirs = await tell("lines");
console.log(theirs[6] ?? 0, areObjects(theirs[4], 15_000));
api.takeSnapshot().dump("${output}");
worker.terminate();
api.stop();`,
    ["--v8-flags=--no-maglev,--no-turbofan"],
  );
  assertEquals(stdout, "true\n0 true\n0 true\n");
  const said = stderr.trimEnd().split("\n");
  assertEquals(said.length, 2, stderr);
  assertMatch(
    said[0]!,
    /by function, and not by line: the records .* are wrong: V8's own profile has 0 objects of 64 bytes/,
  );
  assertMatch(said[1]!, /by function, and not by line: the records .* are wrong: another thread has found that/);
  assertMatch(info(output), /js-heap lines +those where functions begin: the records of V8's heap profiler are wrong/);
});

/** What `info` says of a snapshot. */
const info = (path: string) =>
  spawnSync(deno, ["run", "-A", `${root}cli.ts`, "info", path], { encoding: "utf8" }).stdout;

const verified = /js-heap verified +lines of interpreter[a-z, ]* code; V8's own profile has the same objects\n/;

test("where the records are right nothing is left of it but what info says, on Deno and on Node", () => {
  for (const runtime of [deno, node]) {
    const output = join(folder, "good");
    const source = `
api.start(1, { domains: ["native", "js-heap"], jsInterval: 1 });
const [size] = api.getTracedMemory(), first = api.takeSnapshot();
const heap = [...first.traces].filter(({ domain }) => domain === api.Domain["js-heap"]);
console.log(size < 50_000 || size, heap.length < 200 || heap.length);
console.log([...first.traces].filter(({ traceback }) => String(traceback).includes("calibrate")).map(String));
await new Promise((resolve) => setTimeout(resolve, 100));
api.takeSnapshot().dump("${output}");
api.stop();`;
    const flags = ["--no-maglev", "--no-turbofan"];
    const args = runtime === deno ? ["run", "-A", `--config=${root}deno.json`, `--v8-flags=${flags.join(",")}`] : flags;
    const { stdout, stderr, status } = spawnSync(runtime, [...args, programOf("good", source)], { encoding: "utf8" });
    assertEquals([stdout, stderr, status], ["true true\n[]\n", "", 0]);
    const said = info(output);
    assertMatch(said, verified);
    assert(!said.includes("sampled objects lost"), said);
    // What else was compiled so is the engine's calibration, whose functions are not counted either.
    assertMatch(said, /frames seen: turbofan +0\n/);
  }
});

test("V8's answer may come when tracing has stopped, or the process ended; the records are verified once", () => {
  const output = join(folder, "early");
  const stdout = run(
    "early",
    `const begin = () => api.start(1, { domains: ["js-heap"], jsInterval: 1 });
const turn = () => new Promise((resolve) => setTimeout(resolve, 100));
for (let i = 0; i < 3; i++) {
  begin();
  api.clearTraces();
  api.stop();
}
await turn();
begin();
api.takeSnapshot().dump("${output}");
api.stop();
const { Session } = await import("node:inspector");
// The session of ours has ended: V8 has no sampler, and nobody else's is in the way.
const session = new Session();
session.connect();
session.post("HeapProfiler.enable");
session.post("HeapProfiler.stopSampling", (error) => console.log(!!error));
await turn();
session.disconnect();
begin();`,
  );
  assertEquals(stdout, "true\n");
  assertMatch(info(output), verified);
});

test("several threads start at once, and one clears all the while: nothing is taken for wrong", () => {
  const output = join(folder, "crowd");
  writeFileSync(
    join(folder, "crowd_worker.ts"),
    `import * as api from "${root}mod.ts";
for (let i = 0; i < 20; i++) {
  api.start(1, { domains: ["js-heap"], jsInterval: 64 });
  api.clearTraces();
  await new Promise((resolve) => setTimeout(resolve, 5));
}
postMessage(0);`,
  );
  const stdout = run(
    "crowd",
    `const workers = Array.from({ length: 3 }, () => new Worker(new URL("./crowd_worker.ts", import.meta.url), { type: "module" }));
const ended = workers.map((worker) => new Promise((resolve, reject) => {
  worker.onmessage = resolve;
  worker.onerror = reject;
}));
for (let i = 0; i < 20; i++) {
  api.start(1, { domains: ["js-heap"], jsInterval: 64 });
  await new Promise((resolve) => setTimeout(resolve, 5));
  api.stop();
}
await Promise.all(ended);
api.start(1, { domains: ["js-heap"], jsInterval: 64 });
await new Promise((resolve) => setTimeout(resolve, 200));
api.takeSnapshot().dump("${output}");
for (const worker of workers) worker.terminate();`,
  );
  assertEquals(stdout, "");
  assertMatch(info(output), verified);
});
