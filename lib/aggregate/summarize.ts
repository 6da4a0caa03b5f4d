import type { SnapshotTotals } from "../format/decoder.ts";
import { SnapshotReader } from "../format/reader.ts";
import type { Damage, LoadOptions } from "../model/codec.ts";
import type { SnapshotMetadata } from "../model/columns.ts";
import { batchesOf, type SnapshotSource } from "./source.ts";

/** What a snapshot is, without its traces. */
export interface SnapshotSummary {
  /** `null` where a cut file does not say it any more. */
  readonly tracebackLimit: number | null;
  readonly metadata: SnapshotMetadata;
  readonly totals: SnapshotTotals;
  /** Blocks and bytes by domain, in the order of their numbers. */
  readonly domains: ReadonlyMap<number, { readonly blocks: number; readonly bytes: number }>;
  /** Where and why reading stopped before the end. */
  readonly damage: Damage | null;
}

/** How to read, and who wants to know how far that is. */
export interface SummarizeOptions extends LoadOptions {
  /** Called now and then with the number of bytes that were read. */
  readonly watch?: (bytes: number) => void;
}

/**
 * Reads a snapshot through and says what it is.
 *
 * @throws {SnapshotFormatError} If the file is bad, cut, foreign or newer.
 * @throws {TracemallocError} If the file cannot be read.
 */
export async function summarize(source: SnapshotSource, options: SummarizeOptions = {}): Promise<SnapshotSummary> {
  const reader = new SnapshotReader(options);
  const domains = new Map<number, { blocks: number; bytes: number }>();
  let tracebackLimit: number | null = null;
  let metadata: SnapshotMetadata = {};
  for await (const batch of batchesOf(source, reader)) {
    options.watch?.(reader.offset);
    if (batch.kind === "metadata") ({ tracebackLimit, metadata } = batch);
    if (batch.kind !== "traces") continue;
    for (let i = 0; i < batch.size.length; i++) {
      const domain = batch.domain[i]!;
      let sums = domains.get(domain);
      if (sums === undefined) domains.set(domain, sums = { blocks: 0, bytes: 0 });
      sums.blocks += batch.count[i]!;
      sums.bytes += batch.count[i]! * batch.size[i]!;
    }
  }
  const sorted = new Map([...domains].sort(([a], [b]) => a - b));
  return { tracebackLimit, metadata, totals: reader.totals, domains: sorted, damage: reader.damage };
}
