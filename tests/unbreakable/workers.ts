/** Eight workers that allocate, hand over what they allocated, and have finalisers that allocate; each keeps some. */
import process from "node:process";

interface Unused {
  readonly line: 5;
}

const kept: ArrayBuffer[] = [];
Object.assign(globalThis, { kept });
const { Bun: bun } = globalThis as { Bun?: { isMainThread: boolean } };
const isWorker = bun ? !bun.isMainThread : "WorkerGlobalScope" in globalThis;

let finalised = 0;
const registry = new FinalizationRegistry(() => {
  finalised++;
  kept.push(new ArrayBuffer(40_009)); // line 16
  if (kept.length > 100) kept.splice(50);
});

function work(post: (buffer: ArrayBuffer) => void): void {
  for (let i = 0; i < 400; i++) {
    registry.register(new Uint8Array(20_011), i);
    if (i % 10 === 0) post(new ArrayBuffer(1_000_003)); // line 23
    "abc".replace(/b/g, () => String(new Uint8Array(10_007).length));
  }
}

if (isWorker) {
  const scope = globalThis as unknown as { postMessage(data: unknown, transfer?: Transferable[]): void };
  work((buffer) => scope.postMessage(buffer, [buffer]));
  for (let i = 0; i < 5; i++) kept.push(new ArrayBuffer(2_000_003)); // line 31
  scope.postMessage("done");
} else {
  const received: ArrayBuffer[] = [];
  Object.assign(globalThis, { received });
  const workers = Array.from({ length: 8 }, () => new Worker(import.meta.url, { type: "module" }));
  await Promise.all(workers.map((worker) =>
    new Promise<void>((resolve) => {
      worker.onmessage = ({ data }) => {
        if (data === "done") resolve();
        else received.push(data);
      };
    })
  ));
  work(() => {});
  console.log(received.length);
  process.exit();
}
