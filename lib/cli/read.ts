import { addBatch, batchesOf, type BatchTarget } from "../aggregate/source.ts";
import { SnapshotReader } from "../format/reader.ts";
import type { SnapshotMetadata } from "../model/columns.ts";
import { type Arguments, type OptionSpec, UsageError } from "./arguments.ts";
import { printError } from "./output.ts";
import { progressOf } from "./progress.ts";

/** An option of the commands that read snapshots. */
export const partialOption: OptionSpec = {
  name: "--partial",
  help: "take what is whole of a cut or damaged file, and say what is missing",
};

/** What a file says beside its traces. */
export interface SnapshotHead {
  /** `null` where a cut file does not say it any more. */
  readonly tracebackLimit: number | null;
  readonly metadata: SnapshotMetadata;
}

/** Reads a file once, into several groupings or other targets. */
export async function readInto(
  path: string,
  targets: readonly BatchTarget[],
  partial: boolean,
): Promise<SnapshotHead> {
  let head: SnapshotHead = { tracebackLimit: null, metadata: {} };
  const reader = new SnapshotReader({ partial });
  const progress = progressOf([path]);
  try {
    for await (const batch of batchesOf(path, reader)) {
      if (batch.kind === "metadata") head = batch;
      for (const target of targets) addBatch(target, batch);
      progress.advance(reader.offset);
    }
  } finally {
    progress.end();
  }
  if (reader.damage !== null) warnOfDamage(path, reader.damage);
  return head;
}

/** Says on standard error that a file is not all there. */
export function warnOfDamage(path: string, damage: { readonly text: string }): void {
  printError(`tracemalloc: warning: ${path} is cut or damaged: ${damage.text}; what is taken is what was whole\n`);
}

/** The operands of a command that has a number of them. */
export function operand(args: Arguments, index: number): string {
  const value = args.operands[index];
  if (value === undefined || value === "") throw new UsageError("the path of a file is empty");
  return value;
}
