import type { Damage, LoadOptions, SnapshotData } from "../model/codec.ts";
import type { SnapshotColumns, SnapshotMetadata } from "../model/columns.ts";
import type { TraceRows } from "../model/fold_rows.ts";
import { ContainerParser } from "./container.ts";
import { BatchDecoder, type SnapshotBatch, type SnapshotTotals } from "./decoder.ts";

/** A stream of bytes: a `ReadableStream`, or anything that can be iterated over. */
export type ByteSource = ReadableStream<Uint8Array> | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

/** A snapshot that was read. */
export interface ReadResult extends SnapshotData {
  readonly totals: SnapshotTotals;
}

/**
 * Reads a snapshot piece by piece: for every piece of the file iterate over {@link push}, at last call
 * {@link end}. Holds one message and the depths of the tracebacks' nodes, nothing else.
 */
export class SnapshotReader {
  readonly #container: ContainerParser;
  readonly #decoder = new BatchDecoder();

  constructor(options: LoadOptions = {}) {
    this.#container = new ContainerParser(options.partial ?? false);
  }

  /**
   * Takes a piece of the file and gives the batches that are complete.
   *
   * @throws {SnapshotFormatError} Where the file is bad, cut, foreign or newer.
   */
  *push(chunk: Uint8Array): Generator<SnapshotBatch, void, undefined> {
    this.#container.push(chunk);
    for (let framed = this.#container.next(); framed !== null; framed = this.#container.next()) {
      const batch = this.#decoder.decode(framed);
      if (batch !== null) yield batch;
    }
  }

  /**
   * Says that the file is over.
   *
   * @throws {SnapshotFormatError} Where something is missing.
   */
  end(): void {
    this.#container.end();
  }

  /** What was read so far. */
  get totals(): SnapshotTotals {
    return this.#decoder.totals;
  }

  /** How many bytes of the file were used so far. */
  get offset(): number {
    return this.#container.offset;
  }

  /** The most frames that a traceback has of what was read so far. */
  get deepest(): number {
    return this.#decoder.deepest;
  }

  /** Where and why a partial reading stopped. */
  get damage(): Damage | null {
    return this.#container.damage;
  }
}

/**
 * Reads a snapshot from memory.
 *
 * @throws {SnapshotFormatError} Where the file is bad, cut, foreign or newer.
 */
export function readSnapshot(bytes: Uint8Array, options: LoadOptions = {}): ReadResult {
  const reader = new SnapshotReader(options);
  const collector = new BatchCollector();
  for (const batch of reader.push(bytes)) collector.add(batch);
  reader.end();
  return collector.result(reader);
}

/**
 * Reads a snapshot from a stream.
 *
 * @throws {SnapshotFormatError} Where the file is bad, cut, foreign or newer.
 */
export async function readSnapshotStream(source: ByteSource, options: LoadOptions = {}): Promise<ReadResult> {
  const reader = new SnapshotReader(options);
  const collector = new BatchCollector();
  for await (const batch of readBatches(source, reader)) collector.add(batch);
  return collector.result(reader);
}

/**
 * The batches of a stream, one after the other; memory is bounded by one batch and the stream's own pieces.
 *
 * @throws {SnapshotFormatError} Where the file is bad, cut, foreign or newer.
 */
export async function* readBatches(
  source: ByteSource,
  reader: SnapshotReader,
): AsyncGenerator<SnapshotBatch, void, undefined> {
  for await (const chunk of source) yield* reader.push(chunk);
  reader.end();
}

/** Puts the batches of a snapshot together again. */
class BatchCollector {
  #tracebackLimit: number | null = null;
  #metadata: SnapshotMetadata = {};
  readonly #filenames: string[] = [];
  readonly #frameFilename: Uint32Array[] = [];
  readonly #frameLineno: Uint32Array[] = [];
  // Node 0, the root, is in no file.
  readonly #nodeParent: Uint32Array[] = [Uint32Array.of(0)];
  readonly #nodeFrame: Uint32Array[] = [Uint32Array.of(0)];
  readonly #tracebackNode: Uint32Array[] = [];
  readonly #tracebackTotal: Uint32Array[] = [];
  readonly #traces: TraceRows[] = [];

  add(batch: SnapshotBatch): void {
    switch (batch.kind) {
      case "metadata":
        this.#tracebackLimit = batch.tracebackLimit;
        this.#metadata = batch.metadata;
        break;
      case "strings":
        for (const value of batch.values) this.#filenames.push(value);
        break;
      case "frames":
        this.#frameFilename.push(batch.filename);
        this.#frameLineno.push(batch.lineno);
        break;
      case "nodes":
        this.#nodeParent.push(batch.parent);
        this.#nodeFrame.push(batch.frame);
        break;
      case "tracebacks":
        this.#tracebackNode.push(batch.node);
        this.#tracebackTotal.push(batch.total);
        break;
      case "traces":
        this.#traces.push(batch);
        break;
    }
  }

  result(reader: SnapshotReader): ReadResult {
    const columns: SnapshotColumns = {
      // A file that is cut before its metadata still says how deep its tracebacks are.
      tracebackLimit: this.#tracebackLimit ?? Math.max(1, reader.deepest),
      filenames: this.#filenames,
      frameFilename: joinUint32(this.#frameFilename),
      frameLineno: joinUint32(this.#frameLineno),
      nodeParent: joinUint32(this.#nodeParent),
      nodeFrame: joinUint32(this.#nodeFrame),
      tracebackNode: joinUint32(this.#tracebackNode),
      tracebackTotal: joinUint32(this.#tracebackTotal),
      traceDomain: joinUint32(this.#traces.map((rows) => rows.domain)),
      traceSize: joinFloat64(this.#traces.map((rows) => rows.size)),
      traceCount: joinFloat64(this.#traces.map((rows) => rows.count)),
      traceTraceback: joinUint32(this.#traces.map((rows) => rows.traceback)),
    };
    return { columns, metadata: this.#metadata, totals: { ...reader.totals }, damage: reader.damage };
  }
}

function joinUint32(parts: readonly Uint32Array[]): Uint32Array {
  return join(parts, (length) => new Uint32Array(length));
}

function joinFloat64(parts: readonly Float64Array[]): Float64Array {
  return join(parts, (length) => new Float64Array(length));
}

function join<T extends Uint32Array | Float64Array>(parts: readonly T[], make: (length: number) => T): T {
  if (parts.length === 1) return parts[0]!;
  const whole = make(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
