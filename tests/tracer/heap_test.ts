import { assert, assertAlmostEquals, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Domain, DomainFilter, Snapshot } from "@x/tracemalloc";
import { splitTotal } from "../../lib/runtime/v8_functions.ts";
import { deno } from "./deno.ts";
import { folder, perturbed, root, run } from "./heap_programs.ts";

// The js-heap domain: live objects of the engine's heap, by the line that made them.

const program = `${root}tests/tracer/heap_kinds.ts`;
const text = readFileSync(program, "utf8").split("\n");

interface Owned {
  readonly size: number;
  readonly count: number;
}

/** What the line of each kind owns, when so many of each are kept. */
function ownedBy(interval: number, count: number, kinds: readonly string[], domains = "js-heap"): Map<string, Owned> {
  const output = join(folder, `${interval}-${count}`);
  const { status, stderr } = spawnSync(
    deno,
    ["run", "-A", `${root}cli.ts`, "run", "--domains", domains, "--js-interval", String(interval), "-o", output]
      .concat(program, String(count), kinds),
    { encoding: "utf8" },
  );
  assertEquals(status, 0, stderr);
  const owned = new Map<string, Owned>();
  const snapshot = Snapshot.load(output).filterTraces([new DomainFilter(true, Domain["js-heap"])]);
  for (const { traceback, size, count } of snapshot.statistics("lineno")) {
    const { filename, lineno } = traceback.at(0)!;
    const [, kind] = /^ {2}(\w+): \(i?\)/.exec(filename === program ? text[lineno - 1]! : "") ?? [];
    if (kind !== undefined) owned.set(kind, { size, count });
  }
  return owned;
}

/** Objects that one turn of a kind makes and keeps, whatever the tier. Not all are what the source shows. */
const objects = {
  literal: 1,
  instance: 1,
  closure: 2, // and its context
  array: 2, // and its elements
  map: 2, // and its table
  set: 2,
  json: 4, // an array, its elements, an object, and the one in it
  mapped: 2,
  bigint: 1,
  promise: 2,
  date: 1,
  weakref: 1,
} as const;

/** What a line makes once: maps, feedback, code. */
const once = 60;

test("at an interval of 1 every object that lives is counted, at its line, in all tiers", () => {
  for (const count of [100, 20_000]) {
    const owned = ownedBy(1, count, Object.keys(objects));
    for (const [kind, each] of Object.entries(objects)) {
      const found = owned.get(kind)?.count ?? 0;
      assert(found >= each * count && found <= each * count + once, `${kind}: ${found} for ${count} times ${each}`);
    }
  }
});

test("a sample stands for all objects: sizes and counts are within a few percent", () => {
  // Kinds whose objects have one size, whatever the tier.
  const kinds = ["closure", "map", "set", "date"] as const;
  const few = ownedBy(1, 1000, kinds), many = ownedBy(1024, 100_000, kinds);
  for (const kind of kinds) {
    const each = few.get(kind)!.size / 1000, { size, count } = many.get(kind)!;
    // 10 MB and more a line: one standard deviation is 1 %.
    assertAlmostEquals(size / (each * 100_000), 1, 0.1, `${kind}: ${size} B of ${each * 100_000}`);
    assertAlmostEquals(count / (objects[kind] * 100_000), 1, 0.1, `${kind}: ${count}`);
  }
});

const heap = `
const live = (line: number) => {
  const traces = api.takeSnapshot({ gc: true }).filterTraces([new api.DomainFilter(true, api.Domain["js-heap"])]);
  return traces.statistics("lineno").find(({ traceback }) => traceback.at(0)!.lineno === line)?.count ?? 0;
};`;

test("objects that have died are gone, what is cleared is forgotten, and the engine is left as it was", () => {
  const output = run(
    "dies",
    `let kept: object[] | undefined = [];
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
for (let i = 0; i < 1000; i++) kept.push({ i });
${heap}
const before = live(4);
kept = undefined;
const after = live(4);
kept = [{ a: 1 }];
api.clearTraces();
kept.push({ b: 1 });
const [, size] = [kept, api.getTracedMemory()[0]];
const counts = [live(13), live(15)];
api.stop();
const { default: vm } = await import("node:vm");
console.log(vm.runInNewContext("typeof gc"));
const { Session } = await import("node:inspector");
const session = new Session();
session.connect();
session.post("HeapProfiler.enable");
// Answers with an error where nobody samples.
session.post("HeapProfiler.stopSampling", (error) => console.log(before >= 1000, after < 50, counts.map((n) => n > 0), size > 0, !!error));`,
  );
  assertEquals(output, "undefined\ntrue true [ false, true ] true true\n");
});

test("what V8 allocated and gave back at once is not counted", () => {
  const output = run(
    "shrunk",
    `const kept: unknown[] = [];
const large = 1n << 640n;
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
for (let i = 0; i < 1000; i++) kept.push(new Map([[i, i]]));
for (let i = 0; i < 1000; i++) kept.push(large - (large - BigInt(i + 5)));
kept.push({});
const sizes = new Map<number, number>();
for (const { size, traceback } of api.takeSnapshot({ gc: true }).traces) {
  const line = traceback.at(0)!.lineno;
  if (size < 1000) sizes.set(line, (sizes.get(line) ?? 0) + size);
}
console.log(sizes.get(5), sizes.get(6), kept.length);`,
  );
  const [maps, integers] = output.split(" ").map(Number);
  // A map has 32 bytes, and its table 152; an integer of one digit has 24. And what a line makes once.
  assert(maps! >= 184_000 && maps! < 190_000, output);
  assert(integers! >= 24_000 && integers! < 28_000, output);
});

test("every object of V8's own profile is known by its size, whatever made it, and no other", () => {
  const output = run(
    "profile",
    `import { Session } from "node:inspector";
const kept: unknown[] = [];
const makers: ((size: number) => unknown)[] = [
  (size) => new Array(size),
  (size) => [].concat(new Array(size) as never),
  (size) => "ab".repeat(size).split(""),
  (size) => JSON.parse("[" + "1,".repeat(size) + "1]"),
  (size) => (String.fromCharCode(65 + size % 20) + "x").repeat(4 * size).toUpperCase(),
  (size) => Object.fromEntries(Array.from({ length: size % 100 + 20 }, (_, i) => ["k" + i, i])),
];
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
for (let round = 0; round < 100; round++) for (const make of makers) kept.push(make(500 + round));
const session = new Session();
session.connect();
session.post("HeapProfiler.getSamplingProfile", (_error, { profile }) => {
  const theirs = new Map<number, number>();
  for (const { size } of (profile as unknown as { samples: { size: number }[] }).samples) theirs.set(size, (theirs.get(size) ?? 0) + 1);
  let objects = 0, missing = 0, more = 0;
  for (const [size, count] of theirs) {
    if (size < 2000 || size > 100_000) continue;
    objects += count;
    missing += Math.max(0, count - (ours.get(size) ?? 0));
    more += Math.max(0, (ours.get(size) ?? 0) - count);
  }
  // The snapshot itself was made between the two.
  console.log(objects > 450, missing < 10 || missing, more < 10 || more);
});
const ours = new Map<number, number>();
for (const { size } of api.takeSnapshot().traces) ours.set(size, (ours.get(size) ?? 0) + 1);
console.log(kept.length);`,
    ["--v8-flags=--no-maglev"],
  );
  assertEquals(output, "600\ntrue true true\n");
});

test("with the native domain or without; both start again", () => {
  const output = run(
    "domains",
    `const buffers: Uint8Array[] = [];
const domains = [["native"], ["js-heap"], ["js-heap", "native"], ["native"]] as const;
for (const names of domains) {
  api.start(1, { domains: names, jsInterval: 64 });
  for (let i = 0; i < 1000; i++) buffers.push(new Uint8Array(1001));
  const { traces } = api.takeSnapshot();
  api.stop();
  console.log([0, 1].map((domain) => [...traces].some((trace) => trace.domain === domain && trace.traceback.at(0)!.lineno === 6)));
}`,
  );
  assertEquals(output.replaceAll(" ", ""), "[true,false]\n[false,true]\n[true,true]\n[true,false]\n");
});

test("someone else stops the sampler: it is said", () => {
  const output = run(
    "foreign",
    `import { Session } from "node:inspector";
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
const session = new Session();
session.connect();
console.log(api.takeSnapshot().traces.length > 0);
session.post("HeapProfiler.stopSampling");
api.takeSnapshot().dump("${join(folder, "foreign")}");`,
  );
  assertEquals(output, "true\n");
  const { stdout } = spawnSync(deno, ["run", "-A", `${root}cli.ts`, "info", join(folder, "foreign")], {
    encoding: "utf8",
  });
  assertMatch(stdout, /js-heap ended +someone else stopped/);
});

test("code that was compiled before positions were kept says where it makes objects, or nothing: no wrong line", () => {
  const source = `let kept: object[] = [];
const make = () => void kept.push({ kept });
function pass() {
  for (let i = 0; i < 2000; i++) make();
}
function statements() {
  let sum = 0;
  for (let i = 0; i < 2000; i++) {
    sum += kept.length;
    kept.push([i, i]);
    sum--;
    kept.push(new Map());
  }
  return sum;
}
const begin = () => api.start(1, { domains: ["js-heap"], jsInterval: 1 });
begin();
pass(); // now V8 knows the positions of its bytecode
api.stop();
for (let i = 0; i < 150; i++) {
  pass();
  statements();
  kept = [];
}
begin();
pass();
statements();
const found: Record<string, number> = {};
for (const { traceback, count } of api.takeSnapshot().statistics("lineno")) {
  const { filename, lineno } = traceback.at(0)!;
  if (count > 900) found[filename === "<unknown>" || lineno === 0 ? "none" : String(lineno)] = count;
}
const wrong = Object.keys(found).filter((line) => !["none", "3", "11", "13"].includes(line));
console.log(wrong, found["13"]! >= 4000 && found["13"]! < 4100 || found);`;
  for (const flags of [[], ["--v8-flags=--no-maglev"]]) assertEquals(run("before", source, flags), "[] true\n");
});

test("optimised code that makes room for several objects at once, or inlines their classes, says no wrong line", () => {
  const source = `class Made {
  a = 0; b = 0; c = 0; d = 0; e = 0; f = 0; g = 0; h = 0;
}
const touch = (a: number) => a + 1 | 0;
function instance(a: number, turns: number) {
  for (let i = 0; i < turns; i++) a = a + i | 0;
  a = touch(a);
  return new Made(); // 9
}
function three(a: number, i: number) {
  const one = { a, b: a, c: a };
  const other = [a, a];
  const third = { a, one };
  kept[i] = one;
  kept[i + 1] = other;
  kept[i + 2] = third;
}
const kept: object[] = new Array(24_000);
const work = () => {
  for (let i = 0; i < 6000; i++) {
    kept[4 * i] = instance(i, 100);
    three(i, 4 * i + 1);
  }
};
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
for (let i = 0; i < 4; i++) work();
const sizes: Record<string, number> = {};
const snapshot = api.takeSnapshot({ gc: true }); // 29
for (const { size, traceback } of snapshot.traces) {
  const { filename, lineno } = traceback.at(0)!;
  if (filename === import.meta.filename && lineno > 0 && lineno !== 29) sizes[lineno] = (sizes[lineno] ?? 0) + size;
}
// What each can have, and the few that the lines make once, or other lines.
const most: Record<string, number> = { 9: 24 + 8 * 8, 12: 24 + 8 * 3, 13: 32 + 16 + 16, 14: 24 + 8 * 2 };
const isTooMuch = (size: number, each = 0) => size > 6000 * (each + 16) + 20_000;
console.log(Object.entries(sizes).filter(([line, size]) => isTooMuch(size, most[line])), kept.length);`;
  const flags = [[], ["--v8-flags=--no-maglev"], [`--v8-flags=--no-maglev,--detailed-line-info`]];
  for (const given of flags) assertEquals(run("folded", source, given), "[] 24000\n");
});

const layout = readFileSync(`${root}shim/js_heap.h`, "utf8");
const values = [...layout.matchAll(/^ {4}FIELD\((\w+)\)/gm)].map(([, name]) => name!);

const byFunction = `
function make(i: number) {

  return { i };
}
const make2 = (i: number) => [i, i + 0.5];
const kept: object[] = [];
const begin = () => api.start(3, { domains: ["js-heap"], jsInterval: 1024 });
const turn = () => new Promise((resolve) => setTimeout(resolve, 200));
const found = (gc = false) => {
  const lines: Record<string, number> = {};
  for (const { traceback, size } of api.takeSnapshot({ gc }).statistics("lineno")) {
    const { filename, lineno } = traceback.at(0)!;
    if (filename === import.meta.filename) lines[lineno] = size;
  }
  return lines;
};
const near = (found: number | undefined, expected: number) => Math.abs(found! / expected - 1) < 0.2 || found;
`;

test("a value of the records that is found wrong is noticed, or makes no difference", () => {
  assert(values.length === 10, `${values.length} values`);
  // Half of them under each of the runtimes that run the tests.
  for (const value of values.filter((_, i) => i % 2 === ("Bun" in globalThis ? 1 : 0))) {
    const { stdout, stderr } = perturbed(
      "perturbed",
      `js_heap_${value} 8`,
      `const kept: object[] = [];
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
for (let i = 0; i < 1000; i++) kept.push({ i });
const line = api.takeSnapshot({ gc: true }).statistics("lineno").find(({ traceback }) => traceback.at(0)!.lineno === 4);
console.log(line?.count, String(api.getObjectTraceback(kept[7]!)).replace(/.*:/, ""));`,
    );
    const [count, place] = stdout.trim().split(" ");
    const refused = /^tracemalloc: objects of the js-heap domain by function, and not by line/.test(stderr);
    assert(refused || (Number(count) >= 1000 && Number(count) < 1100), `${value}: ${stdout}${stderr}`);
    assert(place === "null" || place === "4", `${value}: ${place}`);
  }
});

test("where the records are not recognised, objects are known by function, and it is said", () => {
  const output = join(folder, "functions");
  const { stdout } = perturbed(
    "functions",
    "js_heap_size 8",
    `${byFunction}begin();
for (let i = 0; i < 20_000; i++) kept.push(make(i), make2(i));
await turn();
found();
await turn();
let lines = found();
// 48 bytes each; an array of doubles has 32, its elements 32, and the number was 16.
console.log(near(lines[3], 960_000), near(lines[7], 1_600_000));
console.log(api.getObjectTraceback(kept[0]!));
api.takeSnapshot().dump("${output}");
kept.length = 0;
found(true);
await turn();
lines = found();
console.log((lines[3] ?? 0) < 10_000, (lines[7] ?? 0) < 10_000);
api.clearTraces();
for (let i = 0; i < 20_000; i++) kept.push(make(i));
await turn();
found();
await turn();
lines = found();
console.log(near(lines[3], 960_000), lines[7] ?? 0);
api.stop();
console.log(api.isTracing());`,
    // V8 charges what is inlined to the function that it is inlined in.
    ["--v8-flags=--no-maglev,--no-turbofan"],
  );
  assertEquals(stdout, "true true\nnull\ntrue true\ntrue 0\nfalse\n");
  const info = spawnSync(deno, ["run", "-A", `${root}cli.ts`, "info", output], { encoding: "utf8" }).stdout;
  assertMatch(info, /js-heap lines +those where functions begin: the records/);
  assertMatch(info, /js-heap profile +\d+ ms older than the snapshot/);
  assertMatch(info, /JavaScript function, but not the line +/);
  const top = spawnSync(deno, ["run", "-A", `${root}cli.ts`, "top", output], { encoding: "utf8" });
  assertMatch(top.stderr, /tracemalloc: note: js-heap lines: those where functions begin/);
});

test("what V8 says of a sample is split into a size and a number", () => {
  for (const interval of [1, 64, 1024, 8192]) {
    for (let size = 16; size < 4 * interval + 10_000; size += 8) {
      const weight = interval === 1 ? 1 : -1 / Math.expm1(-size / interval);
      const total = size * Math.floor(weight + 0.5), split = splitTotal(total, interval);
      assertEquals(split.size * split.count, total);
      assert(split.size <= size, `${size} at ${interval}`);
    }
  }
  assertEquals(splitTotal(8208, 8192), { size: 16, count: 513 });
});

/** A worker that is sampled, and makes 1000 objects at its line 6, when it is told to. */
const worker = `import * as api from "${root}mod.ts";
const kept: object[] = [];
addEventListener("message", ({ data }) => {
  if (data === "start") api.start(9, { domains: ["js-heap"], jsInterval: 1024 });
  if (data === "stop") api.stop();
  if (data === "make") for (let i = 0; i < 1000; i++) kept.push({ i });
  postMessage(api.isTracing());
});`;

const withWorkers = `
const workers = Array.from({ length: 3 }, () => new Worker(new URL("./heap_worker.ts", import.meta.url), { type: "module" }));
const tell = (worker: Worker, what: string) =>
  new Promise<boolean>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(data);
    worker.onerror = reject;
    worker.postMessage(what);
  });
const metadata = () => {
  api.takeSnapshot().dump("${join(folder, "workers")}");
  return spawnSync(Deno.execPath(), ["run", "-A", "${root}cli.ts", "info", "${
  join(folder, "workers")
}"], { encoding: "utf8" }).stdout;
};`;

test("workers are sampled, each when it starts; their objects die with them; who is not sampled is counted", () => {
  writeFileSync(join(folder, "heap_worker.ts"), worker);
  const output = run(
    "workers",
    `import { spawnSync } from "node:child_process";
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
${withWorkers}
const count = () => {
  let sum = 0;
  for (const { traceback } of api.takeSnapshot().traces) {
    const { filename, lineno } = traceback.at(-1)!;
    if (filename.endsWith("heap_worker.ts") && lineno === 6) sum++;
  }
  return sum;
};
for (const worker of workers) await tell(worker, "nothing");
console.log(/js-heap threads not sampled +3/.test(metadata()));
for (const worker of workers) {
  await tell(worker, "make");
  console.log(await tell(worker, "start"), await tell(worker, "make"));
}
// All that one turn makes, and for the first a few more: maps and feedback.
const all = count();
console.log(all >= 3000 && all < 3200 || all, metadata().includes("not sampled"));
workers[0]!.terminate();
for (const end = Date.now() + 20_000; count() > all - 1000 && Date.now() < end;) await new Promise((resolve) => setTimeout(resolve, 10));
const left = count();
console.log(left >= 2000 && left < 2150 || left);
// Any thread stops it for all.
console.log(await tell(workers[1]!, "stop"), await tell(workers[2]!, "nothing"), api.isTracing());
api.start(1, { domains: ["js-heap"], jsInterval: 1 });
await tell(workers[2]!, "make");
console.log(count(), await tell(workers[2]!, "start"));
await tell(workers[2]!, "make");
console.log(count() >= 1000);
for (const worker of workers) worker.terminate();
api.stop();`,
    ["--v8-flags=--no-maglev"],
  );
  assertEquals(
    output,
    "true\n" + "true true\n".repeat(3) + "true false\ntrue\nfalse false false\n0 true\ntrue\n",
  );
});

test("what is wrong with the options is said", () => {
  const output = run(
    "options",
    `for (const options of [{ jsInterval: 0 }, { jsInterval: 1.5 }, { jsInterval: "1" }, { domains: ["heap"] }, { domains: ["array-buffer"] }, { interval: 1 }]) {
  try {
    api.start(1, options as object);
  } catch (error) {
    console.log((error as Error).name);
  }
}
console.log(api.isTracing());`,
  );
  assertEquals(output, "RangeError\nRangeError\nTypeError\nTypeError\nUnsupportedError\nTypeError\nfalse\n");
});
