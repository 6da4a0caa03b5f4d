import { SnapshotReader } from "../format/reader.ts";
import { Dictionary } from "../model/dictionary.ts";
import { Grouping } from "../model/group.ts";
import type { StatisticDiff } from "../model/statistic_diff.ts";
import type { AggregateOptions } from "./aggregate.ts";
import { addBatch, batchesOf, type SnapshotSource } from "./source.ts";

/**
 * The differences between two snapshots that need not fit in memory, like {@linkcode aggregate}.
 *
 * @param newer The path of a snapshot file, or its bytes as a stream.
 * @param older That of the one to compare with.
 * @param options How to group; filters are applied to both.
 * @returns What {@linkcode Snapshot.compareTo} gives for the same snapshots.
 * @throws {SnapshotFormatError} If a file is bad, cut, foreign or newer.
 * @throws {TracemallocError} If a file cannot be read.
 * @throws {RangeError} If `keyType` is unknown, or `"traceback"` and `cumulative`.
 *
 * @example What grew
 * ```ts
 * import { compareFiles, Snapshot } from "@x/tracemalloc";
 *
 * // Or the paths of files.
 * const [after, before] = [new Snapshot([], 1).toStream(), new Snapshot([], 1).toStream()] as const;
 * const differences = await compareFiles(after, before, { keyType: "lineno" });
 * for (const difference of differences.slice(0, 10)) console.log(`${difference}`);
 * ```
 */
export async function compareFiles(
  newer: SnapshotSource,
  older: SnapshotSource,
  options: AggregateOptions,
): Promise<StatisticDiff[]> {
  const { keyType, cumulative = false, filters = [] } = options;
  const shared = { cumulative, filters: [...filters], dictionary: new Dictionary() };
  const groupings: Grouping[] = [];
  for (const source of [newer, older]) {
    const grouping = new Grouping(keyType, shared);
    for await (const batch of batchesOf(source, new SnapshotReader())) addBatch(grouping, batch);
    groupings.push(grouping);
  }
  return groupings[0]!.compareTo(groupings[1]!);
}
