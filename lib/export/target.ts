import type { TracebackTable } from "../aggregate/traceback_sums.ts";
import type { SnapshotMetadata } from "../model/columns.ts";

/** What is exported: a snapshot, or one beside an older one. */
export interface ExportSource {
  readonly table: TracebackTable;
  readonly metadata: SnapshotMetadata;
  /** `null` where it is not known. */
  readonly tracebackLimit: number | null;
}

/** A format of another tool; one file each. */
export interface ExportTarget {
  /** What `--to` calls it. */
  readonly name: string;
  /** What opens it. */
  readonly summary: string;
  /** Whether it has a notion of the difference of two snapshots; only then is `table.older` ever set. */
  readonly differences: boolean;
  /** Whether it is no text. */
  readonly binary: boolean;
  /** The contents of the file, piece by piece. */
  write(source: ExportSource): Iterable<string> | AsyncIterable<Uint8Array>;
}
