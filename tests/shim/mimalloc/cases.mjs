/** Programs that allocate known sizes and print what was traced, as JSON; the first argument says which. */
import { Worker } from "node:worker_threads";
import { blocks, clear, collect, current, open, rowAt, rows, start, stop } from "./driver.mjs";

const opened = open();

/** Long enough not to be inlined into anything, and nobody else's. */
const size = 1_999_993;
let kept = [];

function string(bytes) {
  const text = `${"x".repeat(bytes - 8)}${Math.random().toFixed(6)}`;
  return text.charCodeAt(3) ? text : undefined; // flat
}

const cases = {
  opened: () => ({ refusal: opened.refusal ?? null, calibration: Object.fromEntries(opened.calibration) }),

  /** Each way to allocate, ten times: how many blocks of about that size there are then, and when they were dropped. */
  async ways() {
    const ways = {
      buffer: () => new ArrayBuffer(size),
      shared: () => new SharedArrayBuffer(size),
      view: () => new Uint8Array(size),
      node: () => Buffer.allocUnsafeSlow(size),
      zeroed: () => Buffer.alloc(size),
      moved: () => new ArrayBuffer(size - 1000).transfer(size),
      encoded: () => new TextEncoder().encode("y".repeat(size)),
      string: () => string(size),
      cloned: () => structuredClone(new Uint8Array(size)),
    };
    const result = {};
    const near = () =>
      rows().filter((row) => row.size >= size && row.size < size + 64).reduce((n, r) => n + r.blocks, 0);
    for (const [name, way] of Object.entries(ways)) {
      clear();
      for (let i = 0; i < 10; i++) kept.push(way());
      const live = near();
      kept = [];
      await collect();
      result[name] = [live, near()];
    }
    return result;
  },

  /** Two sizes of which one is the other's with the profiler's header: the short way would hide it. */
  short() {
    const result = {};
    for (const [a, b] of [[41, 89], [200, 248], [520, 568], [961, 1009]]) {
      clear();
      for (let i = 0; i < 5000; i++) kept.push(new ArrayBuffer(a), new ArrayBuffer(b));
      result[`${a} ${b}`] = [blocks(a), blocks(b)];
    }
    return result;
  },

  /** The first block after start() is one, also where the short way has room for it. */
  first() {
    const missed = [];
    for (let size = 101; size < 1000; size += 56) {
      stop();
      for (let i = 0; i < 3000; i++) kept.push(new ArrayBuffer(size)); // pages that are new are noted
      start();
      kept.push(new ArrayBuffer(size));
      if (blocks(size) < 1) missed.push(size);
    }
    return missed;
  },

  /** Blocks of the garbage-collected heap, and blocks as large as they are asked for by. */
  cells() {
    for (let i = 0; i < 200_000; i++) kept.push({ a: i, b: [i] });
    for (let i = 0; i < 100; i++) kept.push(new ArrayBuffer(32767));
    const cells = rows().filter((row) => row.name === "<gc heap>");
    return {
      sizes: cells.map((row) => row.size),
      kinds: cells.map((row) => row.kind),
      enough: cells.reduce((n, row) => n + row.blocks, 0) > 100,
      ordinary: blocks(32767),
    };
  },

  /** A worker that was there before, and one that came later. */
  async workers() {
    stop();
    const program = "const { parentPort } = require('node:worker_threads'); const kept = [];" +
      "parentPort.on('message', ([n, size]) => {" +
      " for (let i = 0; i < n; i++) kept.push(new ArrayBuffer(size));" +
      " parentPort.postMessage(1); });";
    const ask = (worker, ...message) =>
      new Promise((done) => {
        worker.once("message", done);
        worker.postMessage(message);
      });
    const early = new Worker(program, { eval: true });
    await ask(early, 1, 1000);
    start();
    const late = new Worker(program, { eval: true });
    await ask(early, 2000, 50_021); // it looks at the profiler within a thousand
    await ask(early, 1000, 50_023);
    await ask(late, 1000, 50_033);
    const result = { early: blocks(50_023), late: blocks(50_033) };
    await early.terminate();
    await late.terminate();
    return result;
  },

  /**
   * More sizes than a thread keeps in mind, from two threads by turns, given away and freed by the other: at each step, how
   * many sizes have not the number of blocks that there are.
   */
  async given() {
    const sizes = Array.from({ length: 400 }, (_, i) => 60_001 + 16 * i);
    const wrong = (expected) => {
      const found = new Map();
      for (const { size, blocks } of rows()) found.set(size, (found.get(size) ?? 0) + blocks);
      return sizes.filter((size) => (found.get(size) ?? 0) !== expected).length;
    };
    const worker = new Worker(
      "const { parentPort } = require('node:worker_threads'); let kept = [];" +
        "parentPort.on('message', (message) => {" +
        " if (message.take) kept.push(...message.take);" +
        " if (message.make) for (const size of message.make) kept.push(new ArrayBuffer(size));" +
        " if (message.drop) { kept = []; Bun.gc(true); }" +
        " setTimeout(() => { if (message.drop) Bun.gc(true); parentPort.postMessage(1); }, 1); });",
      { eval: true },
    );
    const ask = (message, give = []) =>
      new Promise((done) => {
        worker.once("message", done);
        worker.postMessage(message, give);
      });
    await ask({ make: Array(2000).fill(1000) }); // it looks at the profiler within a thousand
    const result = [];
    for (let round = 0; round < 3; round++) {
      for (let i = 0; i < 2; i++) for (const size of sizes) kept.push(new ArrayBuffer(size));
      result.push(wrong(2));
      const give = kept;
      kept = [];
      await ask({ take: give, make: sizes }, give);
      result.push(wrong(3));
      await ask({ drop: true });
      await collect();
      result.push(wrong(0));
    }
    await worker.terminate();
    return result;
  },

  address() {
    const traced = new ArrayBuffer(54_321), small = new ArrayBuffer(77);
    const found = [rowAt(traced)?.size, rowAt(small)?.size];
    stop();
    const untraced = new ArrayBuffer(54_323);
    start();
    return [...found, rowAt(traced)?.size ?? null, rowAt(untraced)?.size ?? null];
  },

  /** Ten megabytes that come, are cleared, and go: nothing may go below nothing, which would be far above. */
  async balance() {
    const before = current();
    for (let i = 0; i < 1000; i++) kept.push(new ArrayBuffer(10_007));
    const grown = current() - before;
    clear();
    const cleared = current();
    kept = [];
    await collect();
    const after = current();
    for (let round = 0; round < 20; round++) {
      stop();
      kept.push(new ArrayBuffer(10_009));
      start();
      kept.push(new ArrayBuffer(10_037));
    }
    const last = blocks(10_037), never = blocks(10_009);
    return { grown: grown >= 10_007_000, cleared: cleared < 5_000_000, after: after < 5_000_000, last, never };
  },

  /** Stopped, everything is as without: the same work in between must neither fail nor be seen. */
  async stopped() {
    for (let i = 0; i < 10_000; i++) kept.push(new ArrayBuffer(i % 2000));
    stop();
    for (let i = 0; i < 10_000; i++) kept[i % 7 ? i : 0] = string(20 + (i % 3000));
    kept = [];
    await collect();
    for (let i = 0; i < 10_000; i++) kept.push(new ArrayBuffer(i % 2000));
    return { current: current(), again: open().refusal ?? null };
  },
};

if (!opened.refusal && process.argv[2] !== "opened") start();
console.log(JSON.stringify(await cases[process.argv[2]]()));
process.exit(0);
