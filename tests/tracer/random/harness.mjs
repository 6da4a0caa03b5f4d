/**
 * Runs a program of generate.ts in the traced process: NFRAME TRUTH TRANSFER MAIN [WORKER]. Leaves the engine's own stack
 * traces of all allocations in TRUTH, and the tracer's in TRANSFER.
 */
import process from "node:process";
import vm from "node:vm";
import { saveTransfer, start } from "../../../lib/tracer/tracing.ts";

const inWorker = typeof WorkerGlobalScope !== "undefined";
const settings = inWorker ? undefined : JSON.parse(process.argv[2]);

Error.stackTraceLimit = 250;
let left = 0, chance = 0, calls = 0, current = 0, random = 1;
let size = inWorker ? 50_001 : 10_001;
const kept = globalThis.kept = [];
const truth = [];

/** The next size; 0 most times. */
const N = () => {
  calls++;
  if (left === 0) return current = 0;
  random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
  if (random / 2 ** 32 >= chance) return current = 0;
  left--;
  return current = size += 2;
};

/** Takes the stack trace of what has just been allocated. */
const T = (behind) => {
  if (current !== 0) capture(T, behind);
};

function capture(from, behind) {
  const holder = {};
  const before = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) => sites;
  Error.captureStackTrace(holder, from);
  const sites = holder.stack;
  Error.prepareStackTrace = before;
  const frames = [];
  for (const site of sites) {
    const url = site.getScriptNameOrSourceURL() ?? "";
    if (site.isNative() || site.isAsync() || url === import.meta.url || /^(ext|node|wasm):/.test(url)) continue;
    const line = site.getLineNumber();
    // Of code without a name: V8's own builtins, and what eval makes.
    if (line === null || (url === "" && !site.isEval())) continue;
    frames.push([url === "" ? originOf(site.getEvalOrigin()) : url, line, site.getColumnNumber()]);
  }
  if (frames.length > 0) frames[0][2] -= behind;
  truth.push({ size: current, frames });
  current = 0;
}

/** What V8 calls "eval at f (URL:LINE:COLUMN)", and within eval "eval at g (eval at f (…), <anonymous>:LINE:COLUMN)". */
function originOf(text) {
  const [, inner] = /^eval at .*? \((.*)\)$/.exec(text);
  const [, from, , line, column] = /^(.*?)(, <anonymous>)?:(\d+):(\d+)$/.exec(inner);
  return `<eval at ${from.startsWith("eval at ") ? originOf(from) : from}:${line}:${column}>`;
}

/** Keeps a block. */
const K = (block) => {
  if (block) kept.push(block);
  return 1;
};

const native = Deno.dlopen(new URL("../../../.build/tests/native/libkeep.so", import.meta.url), {
  take: { parameters: ["u32"], result: "pointer" },
  only_call_back: { parameters: ["function", "u32"], result: "void" },
}).symbols;
const bare = Deno.dlopen(new URL("../../../.build/tests/native/libkeep_bare.so", import.meta.url), {
  only_call_back: { parameters: ["function", "u32"], result: "void" },
}).symbols;

const F = (size) => size === 0 ? 0 : native.take(size);
const P = (size) => size === 0 ? 0 : new Uint8Array(size).subarray(1);
/** Allocates in the harness: the caller's frames count. */
const H = () => {
  if (N() === 0) return 1;
  kept.push(new Uint8Array(current));
  capture(H, 0);
  return 1;
};
const H2 = () => {
  if (N() !== 0) {
    kept.push(native.take(current));
    capture(H2, 0);
  }
  return 1;
};

/** Calls by way of WebAssembly: (module (import "a" "b" (func (param i32) (result i32))) (func (export "c") …)). */
const code = new Uint8Array([
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 6, 1, 96, 1, 127, 1, 127, 2, 7, 1, 1, 97, 1, 98, 0, 0, 3, 2, 1, 0],
  ...[7, 5, 1, 1, 99, 0, 1, 10, 8, 1, 6, 0, 32, 0, 16, 0, 11],
]);
const callers = [];
const wasm = new WebAssembly.Instance(new WebAssembly.Module(code), { a: { b: (v) => callers.at(-1)(v) } }).exports.c;
const W = (v, f) => {
  callers.push(f);
  const result = wasm(v);
  callers.pop();
  return result;
};

/** Calls by way of C. */
const callback = new Deno.UnsafeCallback({ parameters: ["u32"], result: "void" }, (v) => {
  callers.at(-1)(v);
});
const by = (only_call_back) => (v, f) => {
  callers.push(f);
  only_call_back(callback.pointer, v >>> 0);
  callers.pop();
  return 1;
};

let pending = [];
const Q = (f) => {
  if (pending.length < 500) pending.push(new Promise((done) => queueMicrotask(() => done(f()))));
};
const S = (promise) => {
  if (pending.length < 500) pending.push(promise);
};
const M = (scheme, text) =>
  import(
    scheme === "data:"
      ? `data:text/javascript,${encodeURIComponent(text)}`
      : URL.createObjectURL(new Blob([text], { type: "text/javascript" }))
  );
const shared = { N, T, K, F, P, H, H2, W, C: by(native.only_call_back), C2: by(bare.only_call_back), Q, S, M };
Object.assign(globalThis, shared, { V: vm });
globalThis.globals = () => {
  const globals = { ...shared };
  for (const name of Object.keys(globalThis)) if (name.startsWith("R_")) globals[name] = globalThis[name];
  return globals;
};

/** Runs a program for a time, without allocations but for so many. */
async function phase({ run, later }, milliseconds, sites, counted) {
  chance = counted > 0 ? sites / counted : 0;
  left = chance > 0 ? 4 * sites : 0;
  const end = performance.now() + milliseconds;
  let d = 0;
  do {
    run(d++);
    await later(d);
    const waiting = pending;
    pending = [];
    await Promise.all(waiting);
  } while (performance.now() < end);
  pending.length = 0;
  left = 0;
}

async function work(url, { sites, heat, startLate, nframe }, started) {
  const program = await import(url);
  if (startLate) await phase(program, heat, 0, 0);
  start(nframe);
  started?.();
  calls = 0;
  await phase(program, 0, 0, 0);
  const counted = calls;
  for (let i = 0; i < 8; i++) {
    await phase(program, 0, Math.ceil(sites / 8), counted);
    await phase(program, heat, 0, 0);
    // Types that were not seen before throw optimised code away.
    if (i === 4) program.run(0.5);
  }
  return truth;
}

if (inWorker) {
  globalThis.onmessage = async ({ data }) => globalThis.postMessage(await work(data.worker, data));
} else {
  if (!settings.startLate) start(settings.nframe);
  let other = [];
  const started = () => {
    if (!settings.worker) return;
    const worker = new Worker(import.meta.url, { type: "module" });
    worker.postMessage({ ...settings, startLate: false });
    other = new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(data);
      worker.onerror = reject;
    });
  };
  const own = await work(settings.main, settings, started);
  const all = [...own, ...await other];
  saveTransfer(settings.transfer);
  Deno.writeTextFileSync(settings.truth, JSON.stringify(all));
  Deno.exit(0);
}
