import type { SnapshotBatch } from "../format/decoder.ts";
import { SnapshotReader } from "../format/reader.ts";
import { type ByteSink, SnapshotWriter } from "../format/writer.ts";
import type { Damage, LoadOptions } from "../model/codec.ts";
import type { AttributionCount, SnapshotMetadata } from "../model/columns.ts";
import { foldRows, type TraceRows } from "../model/fold_rows.ts";
import { PairTable } from "../model/pair_table.ts";
import { batchesOf, type SnapshotSource } from "./source.ts";

/** Rows that are held back, to be folded together: 6 MiB. */
const HELD_ROWS = 2 ** 18;

/**
 * Makes one snapshot of many, which need not fit in memory: what is held grows with the number of distinct
 * tracebacks, not with that of traces. Its metadata are those on which all agree.
 *
 * @param sources The paths of snapshot files, or their bytes as streams.
 * @param target The path of the file to write, which is replaced only once all is well; or where the bytes go.
 * @throws {SnapshotFormatError} If a file is bad, cut, foreign or newer.
 * @throws {TracemallocError} If a file cannot be read, or the target cannot be written.
 *
 * @example What a server's workers hold together
 * ```ts
 * import { mergeFiles, Snapshot } from "@x/tracemalloc";
 *
 * // Or the paths of files, here and there.
 * const workers = [new Snapshot([], 1).toStream(), new Snapshot([], 1).toStream()];
 * const { readable, writable } = new TransformStream<Uint8Array, Uint8Array>();
 * const [together] = await Promise.all([Snapshot.fromStream(readable), mergeFiles(workers, writable)]);
 * console.log(together.traces.length);
 * ```
 */
export async function mergeFiles(
  sources: Iterable<SnapshotSource>,
  target: string | WritableStream<Uint8Array>,
): Promise<void> {
  if (typeof target === "string") {
    await mergeWatched(sources, target);
    return;
  }
  const writer = target.getWriter();
  const chunks: Uint8Array[] = [];
  const drain = async () => {
    for (const chunk of chunks.splice(0)) await writer.write(chunk);
  };
  try {
    await merge(sources, { write: (bytes) => chunks.push(bytes.slice()) }, drain, {});
    await drain();
    await writer.close();
  } catch (error) {
    await writer.abort(error);
    throw error;
  }
}

/** How to merge, and who wants to know. */
export interface MergeOptions extends LoadOptions {
  /** Called now and then with the number of bytes that were read. */
  readonly watch?: (bytes: number) => void;
  /** Called for every source of which not all could be read; only with `partial`. */
  readonly damaged?: (source: SnapshotSource, damage: Damage) => void;
}

/** Merges into a file, see {@link mergeFiles}. */
export async function mergeWatched(
  sources: Iterable<SnapshotSource>,
  target: string,
  options: MergeOptions = {},
): Promise<void> {
  const { openReplacement } = await import("../format/file.ts");
  const replacement = openReplacement(target);
  try {
    await merge(sources, replacement, (bytes) => Promise.resolve(options.watch?.(bytes)), options);
    replacement.commit();
  } catch (error) {
    replacement.abort();
    throw error;
  }
}

/** @param between Called and waited for between batches, with the number of bytes that were read. */
async function merge(
  sources: Iterable<SnapshotSource>,
  sink: ByteSink,
  between: (bytes: number) => Promise<void>,
  options: MergeOptions,
): Promise<void> {
  const merger = new Merger(sink);
  let before = 0;
  for (const source of sources) {
    const reader = new SnapshotReader(options);
    merger.begin();
    for await (const batch of batchesOf(source, reader)) {
      merger.add(batch);
      await between(before + reader.offset);
    }
    before += reader.offset;
    if (reader.damage === null) continue;
    merger.allowFrames(reader.deepest);
    options.damaged?.(source, reader.damage);
  }
  merger.finish();
}

/** A table of the file that is written, and the numbers in it of a source's entries. */
class Merged {
  readonly #table = new PairTable();
  /** The number of the first entry that is written; there are as many before it in every file. */
  readonly #first: number;
  numbers: Uint32Array = new Uint32Array(16);
  #length = 0;
  #written = 0;

  constructor(first: number) {
    this.#first = first;
    this.begin();
  }

  /** Begins the next source. */
  begin(): void {
    for (let i = 0; i < this.#first; i++) this.numbers[i] = i;
    this.#length = this.#first;
  }

  /** Adds entries of the source; each may refer to those before it. */
  add(length: number, entry: (i: number) => readonly [number, number]): void {
    if (this.#length + length > this.numbers.length) {
      const grown = new Uint32Array(2 * (this.#length + length));
      grown.set(this.numbers.subarray(0, this.#length));
      this.numbers = grown;
    }
    for (let i = 0; i < length; i++) {
      const [first, second] = entry(i);
      this.numbers[this.#length++] = this.#first + this.#table.intern(first, second);
    }
  }

  /** The entries that came since the last call. */
  takeNew(): [first: Uint32Array, second: Uint32Array] {
    const { first, second, length } = this.#table;
    const from = this.#written;
    this.#written = length;
    return [first.subarray(from, length), second.subarray(from, length)];
  }
}

class Merger {
  readonly #writer: SnapshotWriter;
  readonly #names = new Map<string, number>();
  #nameNumbers: number[] = [];
  readonly #frames = new Merged(0);
  // Node 0 is the root.
  readonly #nodes = new Merged(1);
  readonly #tracebacks = new Merged(0);
  #held: TraceRows = emptyRows(0);
  #heldLength = 0;
  #tracebackLimit = 0;
  #metadata: SnapshotMetadata | null = null;

  constructor(sink: ByteSink) {
    this.#writer = new SnapshotWriter(sink);
  }

  begin(): void {
    this.#nameNumbers = [];
    this.#frames.begin();
    this.#nodes.begin();
    this.#tracebacks.begin();
  }

  add(batch: SnapshotBatch): void {
    switch (batch.kind) {
      case "metadata":
        this.#tracebackLimit = Math.max(this.#tracebackLimit, batch.tracebackLimit);
        this.#metadata = this.#metadata === null ? batch.metadata : agree(this.#metadata, batch.metadata);
        break;
      case "strings":
        this.#addNames(batch.values);
        break;
      case "frames":
        this.#frames.add(batch.filename.length, (i) => [this.#nameNumbers[batch.filename[i]!]!, batch.lineno[i]!]);
        this.#writer.frames(...this.#frames.takeNew());
        break;
      case "nodes":
        this.#nodes.add(batch.parent.length, (i) => [
          this.#nodes.numbers[batch.parent[i]!]!,
          this.#frames.numbers[batch.frame[i]!]!,
        ]);
        this.#writer.nodes(...this.#nodes.takeNew());
        break;
      case "tracebacks":
        this.#tracebacks.add(batch.node.length, (i) => [this.#nodes.numbers[batch.node[i]!]!, batch.total[i]!]);
        this.#writer.tracebacks(...this.#tracebacks.takeNew());
        break;
      case "traces":
        this.#addTraces(batch);
        break;
    }
  }

  /** Raises the limit of frames, which a source that was cut may not have told. */
  allowFrames(frames: number): void {
    this.#tracebackLimit = Math.max(this.#tracebackLimit, frames);
  }

  finish(): void {
    this.#writeHeld();
    this.#writer.metadata(this.#tracebackLimit, this.#metadata ?? {});
    this.#writer.finish();
  }

  #addNames(values: readonly string[]): void {
    const added: string[] = [];
    for (const value of values) {
      let number = this.#names.get(value);
      if (number === undefined) {
        number = this.#names.size;
        this.#names.set(value, number);
        added.push(value);
      }
      this.#nameNumbers.push(number);
    }
    this.#writer.strings(added);
  }

  #addTraces(rows: TraceRows): void {
    if (this.#heldLength + rows.size.length > HELD_ROWS) this.#makeRoom();
    if (this.#held.size.length === 0) this.#held = emptyRows(HELD_ROWS);
    const { numbers } = this.#tracebacks;
    const at = this.#heldLength;
    this.#held.domain.set(rows.domain, at);
    this.#held.size.set(rows.size, at);
    this.#held.count.set(rows.count, at);
    for (let i = 0; i < rows.size.length; i++) this.#held.traceback[at + i] = numbers[rows.traceback[i]!]!;
    this.#heldLength += rows.size.length;
  }

  /** Folds what is held; writes it where that leaves more than half of it. */
  #makeRoom(): void {
    const folded = this.#folded();
    if (folded.size.length > HELD_ROWS / 2) {
      this.#writer.traces(folded);
      this.#heldLength = 0;
      return;
    }
    this.#held.domain.set(folded.domain);
    this.#held.size.set(folded.size);
    this.#held.count.set(folded.count);
    this.#held.traceback.set(folded.traceback);
    this.#heldLength = folded.size.length;
  }

  #writeHeld(): void {
    this.#writer.traces(this.#folded());
    this.#heldLength = 0;
  }

  #folded(): TraceRows {
    const { domain, size, count, traceback } = this.#held;
    const length = this.#heldLength;
    return foldRows({
      domain: domain.subarray(0, length),
      size: size.subarray(0, length),
      count: count.subarray(0, length),
      traceback: traceback.subarray(0, length),
    });
  }
}

function emptyRows(length: number): TraceRows {
  return {
    domain: new Uint32Array(length),
    size: new Float64Array(length),
    count: new Float64Array(length),
    traceback: new Uint32Array(length),
  };
}

/** What two snapshots say alike of how they came to be; what was counted is added up. */
function agree(a: SnapshotMetadata, b: SnapshotMetadata): SnapshotMetadata {
  const both: { -readonly [K in keyof SnapshotMetadata]: SnapshotMetadata[K] } = {};
  if (a.runtime !== undefined && a.runtime === b.runtime) both.runtime = a.runtime;
  if (a.runtimeVersion !== undefined && a.runtimeVersion === b.runtimeVersion) both.runtimeVersion = a.runtimeVersion;
  if (a.engine !== undefined && a.engine === b.engine) both.engine = a.engine;
  if (a.platform !== undefined && a.platform === b.platform) both.platform = a.platform;
  if (a.pid !== undefined && a.pid === b.pid) both.pid = a.pid;
  if (a.createdAt !== undefined && b.createdAt !== undefined) both.createdAt = Math.max(a.createdAt, b.createdAt);
  const calibration = [...a.calibration ?? []].filter(([name, value]) => b.calibration?.get(name) === value);
  if (calibration.length > 0) both.calibration = new Map(calibration);
  const attribution = new Map<string, AttributionCount>();
  for (const row of [...a.attribution ?? [], ...b.attribution ?? []]) {
    const { reason, blocks, bytes } = row;
    const sum = attribution.get(reason);
    attribution.set(
      reason,
      sum === undefined ? row : { reason, blocks: sum.blocks + blocks, bytes: sum.bytes + bytes },
    );
  }
  if (attribution.size > 0) both.attribution = [...attribution.values()];
  return both;
}
