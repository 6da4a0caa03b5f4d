import { SnapshotReader } from "../format/reader.ts";
import type { DomainFilter } from "../model/domain_filter.ts";
import type { Filter } from "../model/filter.ts";
import { Grouping } from "../model/group.ts";
import type { KeyType } from "../model/key_type.ts";
import type { Statistic } from "../model/statistic.ts";
import { addBatch, batchesOf, type SnapshotSource } from "./source.ts";

/** How to group the traces of snapshot files. */
export interface AggregateOptions {
  /** What traces are grouped by. */
  readonly keyType: KeyType;
  /** Whether a trace counts for all frames of its traceback, not for the most recent alone; not by traceback. */
  readonly cumulative?: boolean;
  /** Which traces to take, as in {@linkcode Snapshot.filterTraces}. */
  readonly filters?: Iterable<Filter | DomainFilter>;
}

/**
 * The statistics of a snapshot that need not fit in memory: what is held grows with the number of distinct
 * tracebacks, not with that of traces.
 *
 * @param source The path of a snapshot file, or its bytes as a stream.
 * @param options How to group.
 * @returns What {@linkcode Snapshot.statistics} gives for the same snapshot.
 * @throws {SnapshotFormatError} If the file is bad, cut, foreign or newer.
 * @throws {TracemallocError} If the file cannot be read.
 * @throws {RangeError} If `keyType` is unknown, or `"traceback"` and `cumulative`.
 *
 * @example The ten lines that hold most
 * ```ts
 * import { aggregate, Snapshot } from "@x/tracemalloc";
 *
 * // Or the path of a file.
 * const source = new Snapshot([], 1).toStream();
 * const statistics = await aggregate(source, { keyType: "lineno" });
 * for (const statistic of statistics.slice(0, 10)) console.log(`${statistic}`);
 * ```
 */
export async function aggregate(source: SnapshotSource, options: AggregateOptions): Promise<Statistic[]> {
  const { keyType, ...rest } = options;
  const grouping = new Grouping(keyType, rest);
  for await (const batch of batchesOf(source, new SnapshotReader())) addBatch(grouping, batch);
  return grouping.statistics();
}
