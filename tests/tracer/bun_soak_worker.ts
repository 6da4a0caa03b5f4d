// @ts-nocheck: it runs on Bun alone, whose types the others do not have.
/** A worker of bun_soak.ts: allocates for so many seconds, keeps 100 buffers, says how many it has made. */
import process from "node:process";
import { parentPort } from "node:worker_threads";

const [number, seconds] = process.argv.slice(2).map(Number) as [number, number];
const kept: (ArrayBuffer | undefined)[] = new Array(100);
let made = 0, text = "";

function work(i: number): void {
  const at = i % 100;
  // Bytes are given back at once, not when the collector comes.
  kept[at]?.transfer(0);
  kept[at] = new ArrayBuffer(9_001 + 2 * at);
  text = `${i} ${text.slice(0, 1_000)}`;
  made += 2;
  if (i % 50 === 0) {
    made += new Function("n", `const a = new ArrayBuffer(9_001); a.transfer(0); return ${i % 7} + n;`)(1) > 0 ? 1 : 0;
  }
}

for (const end = performance.now() + 1000 * seconds; performance.now() < end;) {
  for (let i = number; i < number + 5_000; i++) work(i);
  await new Promise((resolve) => setTimeout(resolve, 0));
}
await new Promise((resolve) => setTimeout(resolve, 100));
parentPort!.postMessage({ made });
setInterval(() => {}, 1000);
