/**
 * A snapshot as it is held in memory: tables and columns, no objects a trace.
 *
 * Every table is referred to by index. Rows of the prefix tree come after the
 * row they extend, so one forward pass can resolve everything.
 */
export interface SnapshotColumns {
  /** The most frames a traceback could hold when the traces were taken. */
  readonly tracebackLimit: number;
  /** Distinct file names. */
  readonly filenames: readonly string[];
  /** Frame `i` is `filenames[frameFilename[i]]`, line `frameLineno[i]` (0: unknown). */
  readonly frameFilename: Uint32Array;
  readonly frameLineno: Uint32Array;
  /**
   * Prefix tree of frames. Node 0 is the empty root (its own parent, frame 0 not used);
   * node `i` > 0 extends node `nodeParent[i]` (< `i`) by the more recent frame `nodeFrame[i]`.
   */
  readonly nodeParent: Uint32Array;
  readonly nodeFrame: Uint32Array;
  /** Traceback `i` ends at `tracebackNode[i]`; `tracebackTotal[i]` is its `totalNframe` + 1 (0: not known). */
  readonly tracebackNode: Uint32Array;
  readonly tracebackTotal: Uint32Array;
  /**
   * A row stands for `traceCount` alike blocks of `traceSize` bytes each (a whole number up to 2^53).
   * Counts are whole numbers, or unbiased weights where a domain is sampled.
   */
  readonly traceDomain: Uint32Array;
  readonly traceSize: Float64Array;
  readonly traceCount: Float64Array;
  readonly traceTraceback: Uint32Array;
}

/** What is known about how the traces of a snapshot came to be; all of it optional, none of it part of equality. */
export interface SnapshotMetadata {
  /** `"deno"`, `"bun"`, `"node"`. */
  readonly runtime?: string;
  readonly runtimeVersion?: string;
  /** For instance `"V8 15.0.245.2"`. */
  readonly engine?: string;
  /** For instance `"linux-x86_64"`. */
  readonly platform?: string;
  readonly pid?: number;
  /** Milliseconds since 1970. */
  readonly createdAt?: number;
  /** What the engine's layout was found to be, name → value, in the order found. */
  readonly calibration?: ReadonlyMap<string, string>;
  /**
   * How the blocks were attributed and what was lost, in the order to be shown:
   * for instance `javascript`, `native: no JavaScript on the thread`, `unknown: code not recognised`.
   */
  readonly attribution?: readonly AttributionCount[];
}

/** One row of {@link SnapshotMetadata.attribution}. */
export interface AttributionCount {
  readonly reason: string;
  readonly blocks: number;
  readonly bytes: number;
}
