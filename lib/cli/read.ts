import { addBatch, batchesOf } from "../aggregate/source.ts";
import { SnapshotReader } from "../format/reader.ts";
import type { Grouping } from "../model/group.ts";
import { type Arguments, type OptionSpec, UsageError } from "./arguments.ts";
import { printError } from "./output.ts";
import { progressOf } from "./progress.ts";

/** An option of the commands that read snapshots. */
export const partialOption: OptionSpec = {
  name: "--partial",
  help: "take what is whole of a cut or damaged file, and say what is missing",
};

/** Reads a file once, into several groupings. */
export async function readInto(path: string, groupings: readonly Grouping[], partial: boolean): Promise<void> {
  const reader = new SnapshotReader({ partial });
  const progress = progressOf([path]);
  try {
    for await (const batch of batchesOf(path, reader)) {
      for (const grouping of groupings) addBatch(grouping, batch);
      progress.advance(reader.offset);
    }
  } finally {
    progress.end();
  }
  if (reader.damage !== null) warnOfDamage(path, reader.damage);
}

/** Says on standard error that a file is not all there. */
export function warnOfDamage(path: string, damage: { readonly text: string }): void {
  printError(`tracemalloc: warning: ${path} is cut or damaged: ${damage.text}; what is shown is what was whole\n`);
}

/** The operands of a command that has a number of them. */
export function operand(args: Arguments, index: number): string {
  const value = args.operands[index];
  if (value === undefined || value === "") throw new UsageError("the path of a file is empty");
  return value;
}
