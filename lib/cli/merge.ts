import { mergeWatched } from "../aggregate/merge_files.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { progressOf } from "./progress.ts";
import { operand, partialOption, warnOfDamage } from "./read.ts";

/** `merge OUT FILE…`: many snapshots into one. */
export const merge: Command = {
  name: "merge",
  summary: "make one snapshot of many, for instance of a server's workers",
  operands: "OUT FILE…",
  operandCount: [2, Infinity],
  options: [partialOption],
  notes: "OUT is replaced only when all files were read without an error; it can be one of them.",
  async run(args: Arguments): Promise<number> {
    const [target, ...sources] = args.operands.map((_, i) => operand(args, i));
    const progress = progressOf(sources);
    try {
      await mergeWatched(sources, target!, {
        partial: args.has(partialOption.name),
        watch: (bytes) => progress.advance(bytes),
        damaged: (source, damage) => warnOfDamage(String(source), damage),
      });
    } finally {
      progress.end();
    }
    return 0;
  },
};
