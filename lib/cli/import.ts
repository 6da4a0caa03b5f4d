import { dumpSnapshot, loadPickle } from "../format/file.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { progressOf } from "./progress.ts";
import { operand } from "./read.ts";

/** `import PICKLE OUT`: a snapshot of CPython's as one of ours. */
export const importCommand: Command = {
  name: "import",
  summary: "make a snapshot of what Python's tracemalloc.Snapshot.dump wrote",
  operands: "PICKLE OUT",
  operandCount: [2, 2],
  options: [],
  notes: "PICKLE is read, not unpickled: nothing in it is run. OUT is replaced only when all was read.",
  run(args: Arguments): Promise<number> {
    const [source, target] = [operand(args, 0), operand(args, 1)];
    const progress = progressOf([source]);
    try {
      const columns = loadPickle(source, (bytes) => progress.advance(bytes));
      dumpSnapshot(target, columns, { runtime: "cpython" });
    } finally {
      progress.end();
    }
    return Promise.resolve(0);
  },
};
