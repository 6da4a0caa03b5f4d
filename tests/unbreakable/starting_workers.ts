/**
 * Workers that all start the tracer at once, stop it and start it again while others allocate, and are terminated in the
 * middle; the main thread has its own handler of SIGUSR2, and ends when its event loop has nothing left.
 */
import process from "node:process";
import { clearTraces, isTracing, start, stop, takeSnapshot } from "../../mod.ts";

interface Unused {
  readonly line: 9;
}

const { Bun: bun } = globalThis as { Bun?: { isMainThread: boolean } };
const inWorker = bun ? !bun.isMainThread : "WorkerGlobalScope" in globalThis;

if (inWorker) {
  const kept: Uint8Array[] = [];
  const scope = globalThis as unknown as { postMessage(data: unknown): void };
  for (let i = 0;; i++) {
    start(1 + i % 5);
    kept.push(new Uint8Array(10_007));
    if (kept.length > 50) kept.length = 0;
    if (i % 7 === 0) clearTraces();
    if (i % 5 === 0 && isTracing()) {
      try {
        takeSnapshot();
      } catch (error) {
        // Another worker has stopped it in between.
        if (!/not being traced/.test(String(error))) throw error;
      }
    }
    if (i % 3 === 0) stop();
    if (i === 5) scope.postMessage("begun");
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const handled = new Promise<void>((resolve) => process.once("SIGUSR2", () => resolve()));
for (let round = 0; round < 3; round++) {
  const workers = Array.from({ length: 3 }, () => new Worker(import.meta.url, { type: "module" }));
  await Promise.all(workers.map((worker) =>
    new Promise<void>((resolve, reject) => {
      worker.onmessage = () => resolve();
      worker.onerror = (event) => reject(new Error(String(event.message)));
    })
  ));
  for (const worker of workers) worker.terminate();
}
process.kill(process.pid, "SIGUSR2");
await handled;
// A worker that is terminated goes on for a moment, and may stop it once more.
let owner: unknown;
while (owner === undefined) {
  stop();
  start();
  Object.assign(globalThis, { kept: new Uint8Array(1_999_927) }); // the line that is looked for
  await new Promise((resolve) => setTimeout(resolve, 50));
  if (!isTracing()) continue;
  owner = [...takeSnapshot().traces].find(({ size }) => size === 1_999_927)?.traceback.at(-1);
  if (owner) console.log(String(owner));
}
