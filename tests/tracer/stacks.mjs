/**
 * Compares the shim's frames with the engine's own stack trace, taken on the same line, over all tiers and kinds of
 * calls. JavaScript and not TypeScript: positions in the text as it was compiled. Prints one line of JSON. `?rounds=N` in
 * its URL makes it shorter or longer.
 */
import { Buffer } from "node:buffer";
import { readFileSync } from "node:fs";
import { detectBackend } from "../../lib/runtime/detect.ts";
import { start } from "../../lib/tracer/tracing.ts";

start(1);
const { v8Frames } = detectBackend().openShim();
Error.stackTraceLimit = 200;

const result = { checks: 0, frames: 0, wrong: 0, unknown: 0, tiers: {}, examples: [] };
const tierNames = ["interpreter", "baseline", "maglev", "turbofan", "inlined"];

/** What V8 says: frames of scripts of the program, without those that await. */
function engineFrames() {
  const before = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) => sites;
  const holder = {};
  Error.captureStackTrace(holder, engineFrames);
  const sites = holder.stack;
  Error.prepareStackTrace = before;
  return sites.filter((site) =>
    !site.isNative() && !site.isAsync() && !/^(ext|node):/.test(site.getFileName() ?? "") && site.getLineNumber() > 0
  );
}

/** Where check() asks for the frames: its own frame shows where the caller's begin. */
const ownLine = 1 +
  readFileSync(new URL(import.meta.url), "utf8").split("\n").findIndex((line) => /= v8Frames\(/.test(line));

/** Both stacks, from the caller on: the frames in between are not the same for both. */
function check() {
  const expected = engineFrames().slice(1);
  const frames = v8Frames(300);
  const found = Array.from({ length: frames.length / 3 }, (_, i) => frames.subarray(3 * i, 3 * i + 3));
  const own = found.findIndex(([line]) => line === ownLine);
  found.splice(0, own + 1);
  result.checks++;
  // An unknown frame stands for all functions that were inlined into it.
  if (own < 0 || found.length !== expected.length && found.some(([line]) => line === 0)) {
    result.unknown++;
    return 1;
  }
  for (let i = 0; i < Math.max(expected.length, found.length); i++) {
    const [line, column, tiers] = found[i] ?? [];
    result.frames++;
    tierNames.forEach((name, bit) => {
      if (tiers & 1 << bit) result.tiers[name] = (result.tiers[name] ?? 0) + 1;
    });
    if (line === 0) result.unknown++;
    else if (expected[i]?.getLineNumber() !== line || expected[i].getColumnNumber() !== column) {
      result.wrong++;
      const { length } = result.examples;
      if (length < 5) result.examples.push(`frame ${i}: ${expected[i]} is ${line}:${column}, tiers ${tiers}`);
    }
  }
  return 1;
}

let sum = 0;

function leaf(value) {
  if (value % 97 === 0) sum += check();
  return value + 1;
}

function middle(value) {
  let total = 0;
  for (let i = 0; i < 3; i++) total += leaf(value + i);
  return total;
}

class Shape {
  #secret = leaf(1);
  static made = 0;
  constructor(value) {
    this.value = value;
    Shape.made += leaf(value);
  }
  get area() {
    return leaf(this.value) + this.#secret;
  }
  set area(value) {
    this.value = leaf(value) - 1;
  }
  *steps() {
    yield leaf(this.value);
    yield middle(this.value);
  }
  async later() {
    sum += leaf(this.value);
    await 0;
    return middle(this.value);
  }
}

class Derived extends Shape {
  constructor(value) {
    super(leaf(value) - 1);
  }
  get area() {
    return super.area + 1;
  }
  set area(value) {
    super.area = value;
  }
}

function outer(value) {
  return middle(value) + [1, 2, 3].map((v) => leaf(v + value)).length +
    [3, 1, 2].sort((a, b) => leaf(a + value) - leaf(b + value)).length +
    [1, 2].reduce((a, b) => a + leaf(b + value), 0) + Array.from([1], (v) => leaf(v + value)).length;
}

const deep = (depth) => depth === 0 ? leaf(97) : deep(depth - 1) + leaf(depth);
const proxy = new Proxy({}, { get: (_, name) => leaf(name.length) });
const tag = (_, value) => leaf(value);

function throwing(value) {
  try {
    if (leaf(value)) throw new Error("caught");
  } catch {
    return leaf(value);
  } finally {
    leaf(value);
  }
}

function loop(value) {
  for (let i = 0; i < 20_000; i++) value += leaf(i) & 1;
  return value;
}

const rounds = Number(new URL(import.meta.url).searchParams.get("rounds") ?? 10_000);
for (let round = 0; round < rounds; round++) {
  outer(round);
  const shape = round % 2 ? new Shape(round) : new Derived(round);
  sum += shape.area;
  shape.area = round;
  for (const step of shape.steps()) sum += step;
  throwing(round);
  if (round % 25 === 0) {
    await shape.later();
    deep(30);
    JSON.parse('{"a":[1,2]}', (_, value) => (leaf(round), value));
    "abcabc".replace(/b/g, () => String(leaf(round)));
    sum += proxy["x".repeat(round % 98)];
    sum += tag`${round}`;
    Buffer.from("abc").forEach((v) => leaf(v + round));
    Promise.resolve(round).then(leaf);
    (0, eval)(`leaf => leaf(${round})`)(leaf);
  }
  if (round % 500 === 0) {
    const made = new Function("leaf", `return function made${round}(q) {\n return leaf(q) + 1 }`)(leaf);
    for (let i = 0; i < 3000; i++) sum += made(i);
    loop(round);
    // Types that were not seen before throw optimised code away, at times under running frames.
    outer(round + 0.5);
    leaf({ valueOf: () => round });
  }
}
await new Promise((resolve) => setTimeout(() => resolve(middle(97))));
console.log(JSON.stringify(result));
