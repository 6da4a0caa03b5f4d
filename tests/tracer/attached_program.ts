/** Does what it is told by lines on its standard input, and answers each with a line of JSON: attached_test.ts. */
import inspector from "node:inspector";
import process from "node:process";
import { createInterface } from "node:readline";
import { isTracing, start, stop, takeSnapshot } from "@x/tracemalloc";

const kept: object[] = [];

const made = 10; // the line below
const make = () => void kept.push({ kept });

const commands: Record<string, () => unknown> = {
  start: () => {
    start(1, { domains: ["js-heap"], jsInterval: 1 });
    return isTracing();
  },
  make: () => {
    for (let i = 0; i < 1000; i++) make();
  },
  count: () => {
    const snapshot = takeSnapshot({ gc: true });
    const line = snapshot.statistics("lineno").find(({ traceback }) => {
      const { filename, lineno } = traceback.at(0)!;
      return filename.endsWith("attached_program.ts") && lineno === made;
    });
    return line?.count ?? 0;
  },
  dump: () => takeSnapshot().dump(process.argv[2]!),
  stop,
  url: () => inspector.url() ?? null,
};

for await (const line of createInterface(process.stdin)) {
  let answer: unknown;
  try {
    answer = commands[line]!() ?? "done";
  } catch (error) {
    answer = String(error);
  }
  console.log(JSON.stringify(answer));
}
