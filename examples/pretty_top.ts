/** The lines of the program that own the most memory, with their source, what the others own, and the sum. */
import { relative } from "node:path";
import { Filter, type KeyType, type Snapshot, start, type Statistic, takeSnapshot } from "@x/tracemalloc";
import { Service } from "./service/service.ts";

/** What is no line of JavaScript: threads, what is not known, and the runtime's native code. */
const native = [new Filter(false, "<*>"), new Filter(false, "deno[+!]*")];

function showTop(snapshot: Snapshot, { keyType = "lineno", limit = 10 }: { keyType?: KeyType; limit?: number } = {}) {
  const statistics = snapshot.filterTraces(native).statistics(keyType);
  console.log(`The largest ${limit} of the program's own lines:`);
  for (const [index, { size, traceback }] of statistics.slice(0, limit).entries()) {
    const { filename, lineno } = traceback.at(-1)!;
    console.log(`${index + 1}. ${relative(import.meta.dirname!, filename)}:${lineno}: ${mebibytes(size)}`);
    const [, source] = traceback.format();
    if (source !== undefined) console.log(source);
  }
  const others = statistics.slice(limit);
  if (others.length > 0) console.log(`${others.length} others: ${mebibytes(sum(others))}`);
  console.log(`All together: ${mebibytes(sum(statistics))}`);
}

function sum(statistics: readonly Statistic[]): number {
  return statistics.reduce((total, { size }) => total + size, 0);
}

function mebibytes(size: number): string {
  return `${(size / 2 ** 20).toFixed(1)} MiB`;
}

start();
const service = new Service();
service.serve();
showTop(takeSnapshot());
