/**
 * Compares tracebacks with the engine's own stack traces, taken beside each other: random programs, in all tiers, closures,
 * code made by eval() and Function(), with collections in between. CHECKS and SEED are arguments, and "buffers" for nothing
 * to be tracked by hand, which would name what is new. Prints one line of JSON; where the layout of the engine was refused,
 * and nothing can be compared, why.
 */
import { edenGC, fullGC } from "bun:jsc";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { snapshotData } from "../../lib/model/snapshot.ts";
import { clearTraces, DomainFilter, start, takeSnapshot, track } from "../../mod.ts";

const [checks = 20_000, seed = 1] = process.argv.slice(2, 4).map(Number);
const withTracked = process.argv[4] !== "buffers";
const domain = 100, kept = [];
const none = { checks: 0, frames: 0, wrong: 0, unknown: 0, missing: 0 };
const result = { ...none, examples: [] }, buffers = { ...none, examples: [] };

let state = seed;
/** A whole number below another. */
function random(below) {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor(state / 2 ** 32 * below);
}

/** By size; the sizes of buffers are odd, and others are rare. */
const truth = new Map(), bufferTruth = new Map();
const firstSize = 20_001;
let last = 0;

/** Stack and memory are of this one line: by hand, which names what is new at once, and by the domain that has buffers here. */
const probes = [
  function tracked() {
    const id = ++last;
    track(domain, id, id + 1), truth.set(id + 1, new Error().stack);
    return 1;
  },
  function made() {
    const size = firstSize + 2 * bufferTruth.size;
    kept.push(new ArrayBuffer(size)), bufferTruth.set(size, new Error().stack);
    return 1;
  },
];

/** Files and lines of a stack trace, the most recent first: what is no program's own is left out. */
function placesOf(stack) {
  const places = [];
  for (const line of stack.split("\n").slice(1)) {
    const [, url, number] = /(?: \(|at )((?:\/|file:)[^()]*?):(\d+):\d+\)?$/.exec(line) ?? [];
    if (url === undefined || line.includes("at async ")) continue;
    places.push(url.startsWith("file:") ? `<eval>:${number}` : `${url}:${number}`);
  }
  return places;
}

/** Compares what is of a size with the stack that it was made with. */
function compareWith(truth, traces, result) {
  const found = new Map();
  for (const { size, traceback } of traces) {
    if (!truth.has(size)) continue;
    // Something else of this size: nobody knows which is which.
    if (found.has(size)) truth.delete(size);
    found.set(size, [...traceback].reverse().map(String));
  }
  for (const [size, stack] of truth) {
    const expected = placesOf(stack), places = found.get(size);
    result.checks++;
    result.frames += expected.length;
    if (!places) result.missing++;
    else if (places.some((place) => place.startsWith("<unknown>"))) result.unknown++;
    else if (places.join() !== expected.join()) {
      result.wrong++;
      if (result.examples.length < 5) result.examples.push(`expected ${expected.join()} found ${places.join()}`);
    }
  }
  truth.clear();
}

function compare() {
  const snapshot = takeSnapshot();
  compareWith(truth, snapshot.filterTraces([new DomainFilter(true, domain)]).traces, result);
  compareWith(bufferTruth, snapshot.filterTraces([new DomainFilter(false, domain)]).traces, buffers);
  kept.length = 0;
  clearTraces();
}

/** Ways to call a function `f` with a number `n`: expressions. */
const ways = [
  "f(n)",
  "(f(n) | 0) + 1",
  "[n, 1].map((m) => {\n    return f(m) + 0;\n  }).length",
  "[2, 1].sort((a, b) => { f(n); return a - b; }).length",
  '"ab".replace(/a/, () => {\n\n    f(n);\n    return "x";\n  }).length',
  'JSON.parse("[1]", (k, v) => {\n    f(n);\n    return v;\n  }).length',
  "new (class { constructor() {\n    this.v = f(n);\n  } })().v",
  "({ get g() {\n    const r = f(n);\n    return r + 0;\n  } }).g",
  "[...(function* () {\n    yield f(n) + 0;\n  })()].length",
  "(() => { try {\n    f(n);\n    throw new Error('z');\n  } catch {\n    return 1;\n  } })()",
  "Reflect.apply(f, null, [n]) + 0",
  "f.call(null, n) + 0",
  "((...all) => {\n    return f(...all) + 0;\n  })(n)",
  "f.bind(null, n)() + 0",
];

/** A function that calls another by some way, its text by `Function` or eval(), or a closure of this module. */
function make(f) {
  const body = `${"\n".repeat(random(6))}let r = 0;${"\n".repeat(random(4))} r += ${
    ways[random(ways.length)]
  };\n return r + 1;`;
  switch (random(4)) {
    case 0:
      return new Function("f", `return function made(n) {${body}}`)(f);
    case 1:
      return (0, eval)(`${"\n".repeat(random(5))}(function (f) { return (n) => {${body}}; })`)(f);
    case 2:
      return closure(f, random(100));
    default:
      return other(f);
  }
}

function closure(f, a) {
  return function closed(n) {
    const r = f(n + a);
    return r + a;
  };
}

function other(f) {
  const inner = (n) => {
    let s = n;
    s += f(s) | 0;
    return s;
  };
  return (n) => {
    const r = inner(n);
    return r + 1;
  };
}

function makeChain() {
  let f = probes[withTracked ? random(2) : 1];
  for (let i = 1 + random(5); i > 0; i--) f = make(f);
  return f;
}

start(50);
const refused = snapshotData(takeSnapshot()).metadata.calibration.get("refused");
if (refused !== undefined) {
  console.log(JSON.stringify({ refused }));
  process.exit(0);
}
Error.stackTraceLimit = 200;
const here = fileURLToPath(import.meta.url);
let chains = Array.from({ length: 20 }, makeChain);
while (result.checks + buffers.checks < checks) {
  const f = chains[random(chains.length)];
  // Some get hot, and all are replaced in time.
  for (let i = random(10) === 0 ? 300 : 5; i > 0; i--) f(i);
  if (random(30) === 0) chains[random(chains.length)] = makeChain();
  if (random(400) === 0) chains = chains.map((chain) => random(2) ? makeChain() : chain);
  if (random(100) === 0) edenGC();
  if (random(1000) === 0) fullGC();
  if (random(20) === 0) await new Promise((resolve) => setTimeout(resolve, random(3)));
  if (truth.size + bufferTruth.size > 1500) compare();
}
const short = (result) => ({ ...result, examples: result.examples.map((text) => text.replaceAll(here, "HERE")) });
console.log(JSON.stringify({ ...short(result), buffers: short(buffers) }));
