/**
 * Four workers and the main thread allocate and drop for some seconds while one thread starts and stops and takes
 * snapshots: `soak.mjs SECONDS`. Then each worker keeps 100 blocks of one size, then none.
 */
import { Worker } from "node:worker_threads";
import { blocks, clear, collect, open, rows, start, stop } from "./driver.mjs";

const until = performance.now() + 1000 * Number(process.argv[2]);
const marked = 100_003;
const { refusal } = open();
if (refusal) throw new Error(refusal);
start();

const program = `
  const { parentPort } = require("node:worker_threads");
  const zlib = require("node:zlib");
  let kept = [], count = 0;
  function work(i) {
    count += 8;
    const place = i & 1023;
    kept[place] = [
      new ArrayBuffer(i % 3000), Buffer.allocUnsafeSlow(1 + i % 500), "s" + i + "x".repeat(i % 90), new Float64Array(i % 70),
      { a: [i], b: new Map([[i, "k" + i]]) },
    ];
    if (i % 64 === 0) kept[place].push(JSON.parse(JSON.stringify({ i, text: "t".repeat(i % 1000) })));
    if (i % 512 === 0) kept[place].push(zlib.deflateSync(Buffer.alloc(5000, i)), new ArrayBuffer(1 << 20).transfer(1 << 10));
    if (i % 4096 === 0) kept[place].push(structuredClone(new Uint8Array(100_000)), new Function("a", "return a + " + i)(1));
  }
  parentPort.on("message", ([what, argument]) => {
    if (what === "work") {
      const until = performance.now() + argument;
      for (let i = 0; performance.now() < until;) for (let k = 0; k < 100; k++) work(i++);
      parentPort.postMessage(count);
    } else if (what === "keep") {
      // A thread that had seen tracing stopped sees within a thousand of its calls that it was started again.
      for (let i = 0; i < 2000; i++) new ArrayBuffer(2000);
      kept = [];
      for (let i = 0; i < 100; i++) kept.push(new ArrayBuffer(argument));
      parentPort.postMessage(0);
    } else if (what === "drop") {
      for (const buffer of kept) buffer.transfer(0);
      kept = [];
      Bun.gc(true);
      parentPort.postMessage(0);
    }
  });`;
const ask = (worker, ...message) =>
  new Promise((done) => {
    worker.once("message", done);
    worker.postMessage(message);
  });
const workers = Array.from({ length: 4 }, () => new Worker(program, { eval: true }));
for (const worker of workers) {
  worker.on("error", (error) => {
    throw error;
  });
}

let allocations = 0, round = 0;
while (performance.now() < until) {
  const counts = Promise.all(workers.map((worker) => ask(worker, "work", 1000)));
  for (let i = 0; i < 10; i++) {
    await new Promise((done) => setTimeout(done, 50));
    rows();
    if (++round % 7 === 0) clear();
    if (round % 11 === 0) {
      stop();
      start();
    }
    if (round % 20 === 0) {
      const short = new Worker("new ArrayBuffer(1e6); globalThis.kept = 'x'.repeat(1e5) + 1;", { eval: true });
      await new Promise((done) => short.on("exit", done));
    }
  }
  allocations = (await counts).reduce((a, b) => a + b, 0);
}
await Promise.all(workers.map((worker) => ask(worker, "keep", marked)));
const live = blocks(marked);
await Promise.all(workers.map((worker) => ask(worker, "drop")));
await collect();
const left = blocks(marked);
for (const worker of workers) await worker.terminate();
stop();
console.log(JSON.stringify({ allocations, live, left }));
process.exit(0);
