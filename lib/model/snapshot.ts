import { buildColumns } from "./build_columns.ts";
import { checkBoolean, checkWhole, describe, maxFrames } from "./check.ts";
import { currentCodec, type Damage, type LoadOptions, type SnapshotData } from "./codec.ts";
import type { SnapshotColumns, SnapshotMetadata } from "./columns.ts";
import { Dictionary } from "./dictionary.ts";
import type { DomainFilter } from "./domain_filter.ts";
import type { Filter } from "./filter.ts";
import { Grouping } from "./group.ts";
import { inspectAs, repr } from "./inspect.ts";
import type { KeyType } from "./key_type.ts";
import { RowMatcher } from "./match.ts";
import type { Statistic } from "./statistic.ts";
import type { StatisticDiff } from "./statistic_diff.ts";
import type { Trace } from "./trace.ts";
import { Traces } from "./traces.ts";

/** Reaches into a snapshot; set by the class. */
let dataOf: (snapshot: Snapshot) => SnapshotData;

/**
 * All traced blocks of memory at one moment.
 *
 * @example Where the memory is
 * ```ts
 * import { Frame, Snapshot, Trace, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const trace = (size: number, lineno: number) => new Trace(0, size, new Traceback([new Frame("a.ts", lineno)]));
 * const older = new Snapshot([trace(100, 1)], 1);
 * const newer = new Snapshot([trace(100, 1), trace(300, 1), trace(100, 2)], 1);
 * assertEquals(newer.statistics("lineno").map(String), [
 *   "a.ts:1: size=400 B, count=2, average=200 B",
 *   "a.ts:2: size=100 B, count=1, average=100 B",
 * ]);
 * assertEquals(newer.compareTo(older, "filename").map(String), [
 *   "a.ts:0: size=500 B (+400 B), count=3 (+2), average=167 B",
 * ]);
 * ```
 */
export class Snapshot {
  readonly #columns: SnapshotColumns;
  readonly #metadata: SnapshotMetadata;
  readonly #damage: Damage | null = null;
  #traces: Traces | undefined;

  /**
   * Makes a snapshot of given traces.
   *
   * @param traces The traces.
   * @param tracebackLimit The most frames that a traceback could hold, a whole number from 0 to 65535.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If `tracebackLimit` is out of range.
   */
  constructor(traces: Iterable<Trace>, tracebackLimit: number) {
    if (traces instanceof Columns) {
      const { columns, metadata, damage } = traces.data;
      this.#columns = columns;
      this.#metadata = metadata;
      this.#damage = damage;
      return;
    }
    checkWhole("tracebackLimit", tracebackLimit, maxFrames);
    this.#columns = buildColumns(traces, tracebackLimit);
    this.#metadata = {};
  }

  /** The most frames that a traceback could hold when the traces were taken. */
  get tracebackLimit(): number {
    return this.#columns.tracebackLimit;
  }

  /**
   * Where and why reading stopped before the end of a cut or damaged file, of which this is what was whole; `null` where
   * nothing is missing.
   */
  get damage(): Damage | null {
    return this.#damage;
  }

  /** The traces, one for each block. */
  get traces(): Traces {
    return this.#traces ??= new Traces(this.#columns);
  }

  /**
   * Groups the traces and adds up their sizes.
   *
   * @param keyType What to group by: `"filename"`, `"lineno"` or `"traceback"`. Each group's traceback is that file (as a
   * frame with line 0), that line, or that traceback.
   * @param cumulative Whether a trace counts for every frame of its traceback, as often as the frame is there, and not
   * for its most recent frame alone. Not by traceback.
   * @returns The groups, the largest first: by size, then count, then traceback.
   * @throws {RangeError} If `keyType` is unknown, or `"traceback"` and `cumulative`.
   */
  statistics(keyType: KeyType, cumulative = false): Statistic[] {
    const grouping = new Grouping(keyType, { cumulative });
    grouping.addColumns(this.#columns);
    return grouping.statistics();
  }

  /**
   * Groups the traces of this and of an older snapshot and compares the groups.
   *
   * @param old The older snapshot.
   * @param keyType What to group by, see {@linkcode Snapshot.statistics}.
   * @param cumulative Whether a trace counts for every frame of its traceback.
   * @returns The groups of both, the greatest change first: by size of the change of size, then size, size of the change
   * of count, count, traceback.
   * @throws {TypeError} If `old` is no snapshot.
   * @throws {RangeError} If `keyType` is unknown, or `"traceback"` and `cumulative`.
   */
  compareTo(old: Snapshot, keyType: KeyType, cumulative = false): StatisticDiff[] {
    if (!(old instanceof Snapshot)) throw new TypeError(`old must be a Snapshot, not ${describe(old)}`);
    const dictionary = new Dictionary();
    const [newer, older] = [this, old].map((snapshot) => {
      const grouping = new Grouping(keyType, { cumulative, dictionary });
      grouping.addColumns(snapshot.#columns);
      return grouping;
    }) as [Grouping, Grouping];
    return newer.compareTo(older);
  }

  /**
   * Selects traces: those which any inclusive filter matches, or all if there is none, less those which any exclusive
   * filter matches.
   *
   * @param filters Filters; without any, all traces are kept.
   * @returns A new snapshot.
   * @throws {TypeError} If `filters` is no iterable of filters.
   */
  filterTraces(filters: Iterable<Filter | DomainFilter>): Snapshot {
    const columns = this.#columns;
    const matcher = new RowMatcher(filters);
    // What was counted over all traces is not true of some.
    const { attribution: _, ...metadata } = this.#metadata;
    if (matcher.keepsAll) return snapshotFromColumns(columns, this.#metadata, this.#damage);
    matcher.addFilenames(columns.filenames);
    matcher.addFrames(columns.frameFilename, columns.frameLineno);
    matcher.addNodes(columns.nodeParent.subarray(1), columns.nodeFrame.subarray(1));
    const { tracebackNode, traceDomain, traceSize, traceCount, traceTraceback } = columns;
    const kept = new Uint32Array(traceSize.length);
    let length = 0;
    for (let row = 0; row < traceSize.length; row++) {
      if (matcher.keeps(traceDomain[row]!, tracebackNode[traceTraceback[row]!]!)) kept[length++] = row;
    }
    return snapshotFromColumns(
      {
        ...columns,
        traceDomain: pick(traceDomain, kept, new Uint32Array(length)),
        traceSize: pick(traceSize, kept, new Float64Array(length)),
        traceCount: pick(traceCount, kept, new Float64Array(length)),
        traceTraceback: pick(traceTraceback, kept, new Uint32Array(length)),
      },
      metadata,
      this.#damage,
    );
  }

  /**
   * Writes the snapshot to a file; one that is there already is replaced when all is written, and left whole if that
   * fails.
   *
   * @param path Path of the file, or its `file:` URL.
   * @throws {UnsupportedError} Where files cannot be written, as in a browser.
   */
  dump(path: string | URL): void {
    currentCodec().dump(path, snapshotData(this));
  }

  /**
   * Reads a snapshot from a file.
   *
   * @param path Path of the file, or its `file:` URL.
   * @param options Whether a part is enough.
   * @returns The snapshot.
   * @throws {SnapshotFormatError} If the file is bad, cut, foreign or newer than this library.
   * @throws {TypeError} If an argument is of another type.
   * @throws {UnsupportedError} Where files cannot be read, as in a browser.
   *
   * @example What is left of a file that was cut
   * ```ts ignore
   * import { Snapshot } from "@x/tracemalloc";
   *
   * const snapshot = Snapshot.load("cut.snapshot", { partial: true });
   * if (snapshot.damage !== null) console.warn(`not all is there: ${snapshot.damage.text}`);
   * ```
   */
  static load(path: string | URL, options: LoadOptions = {}): Snapshot {
    const { columns, metadata, damage } = currentCodec().load(path, checkLoadOptions(options));
    return snapshotFromColumns(columns, metadata, damage);
  }

  /**
   * Gives the snapshot as the bytes of a file.
   *
   * @returns The bytes that {@linkcode Snapshot.dump} would write.
   * @throws {UnsupportedError} Where the format is not at hand.
   */
  toStream(): ReadableStream<Uint8Array> {
    return currentCodec().toStream(snapshotData(this));
  }

  /**
   * Reads a snapshot from the bytes of a file.
   *
   * @param stream The bytes.
   * @param options Whether a part is enough, as in {@linkcode Snapshot.load}.
   * @returns The snapshot.
   * @throws {SnapshotFormatError} If the bytes are bad, cut, foreign or newer than this library.
   * @throws {TypeError} If an argument is of another type.
   * @throws {UnsupportedError} Where the format is not at hand.
   */
  static async fromStream(stream: ReadableStream<Uint8Array>, options: LoadOptions = {}): Promise<Snapshot> {
    const { columns, metadata, damage } = await currentCodec().fromStream(stream, checkLoadOptions(options));
    return snapshotFromColumns(columns, metadata, damage);
  }

  static {
    dataOf = (snapshot) => ({ columns: snapshot.#columns, metadata: snapshot.#metadata, damage: snapshot.#damage });
  }
}

/** What {@linkcode snapshotFromColumns} hands to the constructor instead of traces. */
class Columns {
  readonly data: SnapshotData;

  constructor(data: SnapshotData) {
    this.data = data;
  }
}

function checkLoadOptions(options: LoadOptions): LoadOptions {
  if (options.partial !== undefined) checkBoolean("partial", options.partial);
  return options;
}

/** A snapshot over columns, which must be valid and not change any more. For the rest of lib, not for users. */
export function snapshotFromColumns(
  columns: SnapshotColumns,
  metadata: SnapshotMetadata = {},
  damage: Damage | null = null,
): Snapshot {
  const data = new Columns({ columns, metadata, damage });
  return new Snapshot(data as unknown as Iterable<Trace>, columns.tracebackLimit);
}

/** The columns of a snapshot and what is known about them; not to be changed. For the rest of lib, not for users. */
export function snapshotData(snapshot: Snapshot): SnapshotData {
  return dataOf(snapshot);
}

/** Fills `target` with the values of some rows. */
function pick<T extends Uint32Array | Float64Array>(values: T, rows: Uint32Array, target: T): T {
  for (let i = 0; i < target.length; i++) target[i] = values[rows[i]!]!;
  return target;
}

inspectAs(
  Snapshot,
  (snapshot) => `<Snapshot traces=${repr(snapshot.traces)} traceback_limit=${snapshot.tracebackLimit}>`,
);
