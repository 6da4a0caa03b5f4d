// @ts-nocheck: it runs on Bun alone, whose types the others do not have.
/** A worker of main.ts: says what it has, and what it was sent. */
import process from "node:process";
import { isMainThread, parentPort, threadId, workerData } from "node:worker_threads";

const data = workerData as { given: [number, Uint8Array] } | undefined;
const say = (message: unknown) => parentPort ? parentPort.postMessage(message) : postMessage(message);
say([
  isMainThread,
  threadId > 0,
  data?.given[1] instanceof Uint8Array,
  process.argv.slice(2),
  process.execArgv,
  Object.keys(process.env),
  process.listenerCount("exit"),
  new Error("in a worker").stack!.split("\n").length,
]);
const hear = ({ moved, shared, map }: { moved: ArrayBuffer; shared: SharedArrayBuffer; map: Map<number, unknown> }) => {
  say([moved.byteLength, moved instanceof ArrayBuffer, shared.byteLength, shared instanceof SharedArrayBuffer, map]);
  process.exit(4);
};
if (parentPort) parentPort.once("message", hear);
else addEventListener("message", ({ data }) => hear(data), { once: true });
