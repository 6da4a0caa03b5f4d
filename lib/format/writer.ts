import { Builder } from "flatbuffers";
import type { SnapshotColumns, SnapshotMetadata } from "../model/columns.ts";
import { foldRows, type TraceRows } from "../model/fold_rows.ts";
import { crc32 } from "./crc32.ts";
import type { SnapshotTotals } from "./decoder.ts";
import { Attribution } from "./generated/attribution.ts";
import { Column } from "./generated/column.ts";
import { Footer } from "./generated/footer.ts";
import { Frames } from "./generated/frames.ts";
import { Header } from "./generated/header.ts";
import { Message } from "./generated/message.ts";
import { Metadata } from "./generated/metadata.ts";
import { Nodes } from "./generated/nodes.ts";
import { Property } from "./generated/property.ts";
import { Strings } from "./generated/strings.ts";
import { Tracebacks } from "./generated/tracebacks.ts";
import { Traces } from "./generated/traces.ts";
import {
  ALIGNMENT,
  Encoding,
  MAGIC,
  MAX_BATCH_COUNT,
  MAX_BATCH_STRINGS,
  MAX_FRAMES,
  MAX_STRING,
  MINOR_VERSION,
  RECORD_HEAD,
  TRAILER,
} from "./limits.ts";
import { ByteWriter, chooseDifferences, encodePacked } from "./packed.ts";
import { encodeWtf8 } from "./wtf8.ts";

/** Where the bytes of a snapshot go. */
export interface ByteSink {
  /** Takes bytes; they are valid only until the call returns. */
  write(bytes: Uint8Array): void;
}

/** The most rows of traces in a batch: even where no value packs, 23 bytes each stay below 1 MiB. */
const MAX_ROWS = 1 << 15;

type Integers = Uint32Array | Float64Array;

/** How a column is best coded: by value, by difference, or whichever is shorter. */
type Coding = "values" | "differences" | "shorter";

/**
 * Writes a snapshot batch by batch. Entries are numbered in the order in which they are written, and must be
 * written before what refers to them; memory is bounded by one batch.
 */
export class SnapshotWriter {
  readonly #sink: ByteSink;
  readonly #builder = new Builder(1 << 16);
  readonly #column = new ByteWriter();
  readonly #totals: SnapshotTotals = {
    strings: 0,
    frames: 0,
    nodes: 0,
    tracebacks: 0,
    rows: 0,
    blocks: 0,
    bytes: 0,
  };
  #offset = 0;

  /** @param sink Takes the bytes. What it throws is passed on. */
  constructor(sink: ByteSink) {
    this.#sink = sink;
    this.#emit(MAGIC);
    const writer = this.#builder.createString("tracemalloc for JavaScript runtimes");
    Header.startHeader(this.#builder);
    Header.addMinor(this.#builder, MINOR_VERSION);
    Header.addWriter(this.#builder, writer);
    this.#message(Message.addHeader, Header.endHeader(this.#builder));
  }

  /** What was written so far. */
  get totals(): Readonly<SnapshotTotals> {
    return this.#totals;
  }

  /**
   * Writes how the traces came to be; once, at any time.
   *
   * @throws {RangeError} Where the traceback limit is not in [0, 65535].
   */
  metadata(tracebackLimit: number, metadata: SnapshotMetadata): void {
    if (!Number.isInteger(tracebackLimit) || tracebackLimit < 0 || tracebackLimit > MAX_FRAMES) {
      throw new RangeError(`the traceback limit must be a whole number in [0, ${MAX_FRAMES}], not ${tracebackLimit}`);
    }
    const builder = this.#builder;
    const text = (value: string | undefined) => (value === undefined ? 0 : builder.createString(value));
    const runtime = text(metadata.runtime);
    const runtimeVersion = text(metadata.runtimeVersion);
    const engine = text(metadata.engine);
    const platform = text(metadata.platform);
    const calibration = [...metadata.calibration ?? []].map(([name, value]) =>
      Property.createProperty(builder, text(name), text(value))
    );
    const attribution = (metadata.attribution ?? []).map(({ reason, blocks, bytes }) =>
      Attribution.createAttribution(builder, text(reason), blocks, bytes)
    );
    const calibrations = calibration.length > 0 ? Metadata.createCalibrationVector(builder, calibration) : 0;
    const attributions = attribution.length > 0 ? Metadata.createAttributionVector(builder, attribution) : 0;
    Metadata.startMetadata(builder);
    Metadata.addTracebackLimit(builder, tracebackLimit);
    Metadata.addRuntime(builder, runtime);
    Metadata.addRuntimeVersion(builder, runtimeVersion);
    Metadata.addEngine(builder, engine);
    Metadata.addPlatform(builder, platform);
    if (metadata.pid !== undefined) Metadata.addPid(builder, metadata.pid);
    if (metadata.createdAt !== undefined) Metadata.addCreatedAt(builder, metadata.createdAt);
    Metadata.addCalibration(builder, calibrations);
    Metadata.addAttribution(builder, attributions);
    this.#message(Message.addMetadata, Metadata.endMetadata(builder));
  }

  /**
   * Writes file names.
   *
   * @throws {RangeError} Where one takes more than 16 MiB.
   */
  strings(values: readonly string[]): void {
    let batch: Uint8Array[] = [];
    let bytes = 0;
    for (const value of values) {
      const encoded = encodeWtf8(value);
      if (encoded.length > MAX_STRING) {
        throw new RangeError(`a file name of ${encoded.length} bytes cannot be written, at most ${MAX_STRING} can`);
      }
      if (batch.length === MAX_BATCH_COUNT || (batch.length > 0 && bytes + encoded.length > MAX_BATCH_STRINGS)) {
        this.#strings(batch);
        batch = [];
        bytes = 0;
      }
      batch.push(encoded);
      bytes += encoded.length;
    }
    if (batch.length > 0) this.#strings(batch);
  }

  #strings(batch: readonly Uint8Array[]): void {
    const prefix = new Uint32Array(batch.length);
    const suffix = new Uint32Array(batch.length);
    let previous: Uint8Array = new Uint8Array(0);
    const suffixes = batch.map((bytes, i) => {
      const shared = sharedPrefix(previous, bytes);
      prefix[i] = shared;
      suffix[i] = bytes.length - shared;
      previous = bytes;
      return bytes.subarray(shared);
    });
    const builder = this.#builder;
    const bytes = builder.createByteVector(concat(suffixes));
    const prefixes = this.#integers(prefix, 0, batch.length, "values");
    const sizes = this.#integers(suffix, 0, batch.length, "values");
    Strings.startStrings(builder);
    Strings.addCount(builder, batch.length);
    Strings.addPrefix(builder, prefixes);
    Strings.addSuffix(builder, sizes);
    Strings.addBytes(builder, bytes);
    this.#message(Message.addStrings, Strings.endStrings(builder));
    this.#totals.strings += batch.length;
  }

  /** Writes frames: the number of a file name, and a line, of each. */
  frames(filename: Uint32Array, lineno: Uint32Array): void {
    const builder = this.#builder;
    for (const [start, end] of batches(filename.length, MAX_BATCH_COUNT)) {
      const filenames = this.#integers(filename, start, end, "shorter");
      const lines = this.#integers(lineno, start, end, "shorter");
      Frames.startFrames(builder);
      Frames.addCount(builder, end - start);
      Frames.addFilename(builder, filenames);
      Frames.addLineno(builder, lines);
      this.#message(Message.addFrames, Frames.endFrames(builder));
      this.#totals.frames += end - start;
    }
  }

  /** Writes nodes of the prefix tree: the number of its parent (0: the root), and of a frame, of each. */
  nodes(parent: Uint32Array, frame: Uint32Array): void {
    const builder = this.#builder;
    const distance = new Uint32Array(Math.min(parent.length, MAX_BATCH_COUNT));
    for (const [start, end] of batches(parent.length, MAX_BATCH_COUNT)) {
      const first = this.#totals.nodes + 1;
      for (let i = start; i < end; i++) distance[i - start] = first + i - start - parent[i]!;
      const distances = this.#integers(distance, 0, end - start, "values");
      const frames = this.#integers(frame, start, end, "shorter");
      Nodes.startNodes(builder);
      Nodes.addCount(builder, end - start);
      Nodes.addParentDistance(builder, distances);
      Nodes.addFrame(builder, frames);
      this.#message(Message.addNodes, Nodes.endNodes(builder));
      this.#totals.nodes += end - start;
    }
  }

  /** Writes tracebacks: the number of the node where it ends, and the frames of the whole stack + 1, of each. */
  tracebacks(node: Uint32Array, total: Uint32Array): void {
    const builder = this.#builder;
    for (const [start, end] of batches(node.length, MAX_BATCH_COUNT)) {
      const nodes = this.#integers(node, start, end, "shorter");
      const totals = this.#integers(total, start, end, "values");
      Tracebacks.startTracebacks(builder);
      Tracebacks.addCount(builder, end - start);
      Tracebacks.addNode(builder, nodes);
      Tracebacks.addTotal(builder, totals);
      this.#message(Message.addTracebacks, Tracebacks.endTracebacks(builder));
      this.#totals.tracebacks += end - start;
    }
  }

  /**
   * Writes rows of traces, in the order given.
   *
   * @throws {RangeError} Where a size is not a whole number in [0, 2^53), or a count not a number above 0.
   */
  traces(rows: TraceRows): void {
    const builder = this.#builder;
    for (const [start, end] of batches(rows.size.length, MAX_ROWS)) {
      let { blocks, bytes } = this.#totals;
      for (let i = start; i < end; i++) {
        const size = rows.size[i]!;
        const count = rows.count[i]!;
        if (!(Number.isSafeInteger(size) && size >= 0)) {
          throw new RangeError(`the size of a trace must be a whole number in [0, 2^53), not ${size}`);
        }
        if (!(count > 0 && count < Infinity)) {
          throw new RangeError(`the count of a trace must be a number above 0, not ${count}`);
        }
        blocks += count;
        bytes += count * size;
      }
      if (!(bytes < Infinity && blocks < Infinity)) {
        throw new RangeError(`the traces add up to ${bytes} bytes in ${blocks} blocks, which should be finite`);
      }
      const domain = this.#integers(rows.domain, start, end, "values");
      const size = this.#integers(rows.size, start, end, "shorter");
      const count = this.#weights(rows.count, start, end);
      const traceback = this.#integers(rows.traceback, start, end, "shorter");
      Traces.startTraces(builder);
      Traces.addCount(builder, end - start);
      Traces.addDomain(builder, domain);
      Traces.addSize(builder, size);
      Traces.addBlocks(builder, count);
      Traces.addTraceback(builder, traceback);
      this.#message(Message.addTraces, Traces.endTraces(builder));
      this.#totals.rows += end - start;
      this.#totals.blocks = blocks;
      this.#totals.bytes = bytes;
    }
  }

  /** Writes the end of the file. */
  finish(): void {
    const { strings, frames, nodes, tracebacks, rows, blocks, bytes } = this.#totals;
    const footer = this.#offset;
    const table = Footer.createFooter(
      this.#builder,
      strings,
      frames,
      nodes,
      tracebacks,
      BigInt(rows),
      blocks,
      bytes,
    );
    this.#message(Message.addFooter, table);
    const trailer = new Uint8Array(TRAILER);
    new DataView(trailer.buffer).setBigUint64(0, BigInt(footer), true);
    trailer.set(MAGIC, 8);
    this.#emit(trailer);
  }

  #integers(values: Integers, start: number, end: number, coding: Coding): number {
    const differences = coding === "differences" || (coding === "shorter" && chooseDifferences(values, start, end));
    this.#column.clear();
    encodePacked(values, start, end, differences, this.#column);
    return this.#data(differences ? Encoding.packedDifferences : Encoding.packed);
  }

  #weights(values: Float64Array, start: number, end: number): number {
    let whole = true;
    for (let i = start; i < end && whole; i++) whole = Number.isSafeInteger(values[i]!);
    if (whole) return this.#integers(values, start, end, "values");
    const bytes = this.#column.reserve(8 * (end - start) - this.#column.length);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (let i = start; i < end; i++) view.setFloat64(8 * (i - start), values[i]!, true);
    this.#column.length = 8 * (end - start);
    return this.#data(Encoding.float64);
  }

  #data(encoding: number): number {
    const data = this.#builder.createByteVector(this.#column.written);
    return Column.createColumn(this.#builder, encoding, data);
  }

  /** Writes a record whose message has one field, a table. */
  #message(addField: (builder: Builder, table: number) => void, table: number): void {
    const builder = this.#builder;
    Message.startMessage(builder);
    addField(builder, table);
    const message = Message.endMessage(builder);
    // What the builder aligns is the end of the buffer, and with it everything in it.
    builder.prep(ALIGNMENT, 4);
    builder.finish(message);
    const bytes = builder.asUint8Array();
    const head = new Uint8Array(RECORD_HEAD);
    const view = new DataView(head.buffer);
    view.setUint32(0, bytes.length, true);
    view.setUint32(4, crc32(bytes), true);
    this.#emit(head);
    this.#emit(bytes);
    builder.clear();
  }

  #emit(bytes: Uint8Array): void {
    this.#sink.write(bytes);
    this.#offset += bytes.length;
  }
}

/**
 * Writes a snapshot to a sink: what its traces refer to, alike traces as one row, in the order of tracebacks.
 *
 * @throws {RangeError} Where a size, a count, a file name or the traceback limit is beyond what the format holds.
 */
export function writeSnapshot(columns: SnapshotColumns, metadata: SnapshotMetadata, sink: ByteSink): void {
  const { domain, size, count, traceback } = foldRows({
    domain: columns.traceDomain,
    size: columns.traceSize,
    count: columns.traceCount,
    traceback: columns.traceTraceback,
  });
  // Folded first, because then rows are few.
  const used = selectUsed({
    ...columns,
    traceDomain: domain,
    traceSize: size,
    traceCount: count,
    traceTraceback: traceback,
  });
  const writer = new SnapshotWriter(sink);
  writer.metadata(columns.tracebackLimit, metadata);
  writer.strings(used.filenames);
  writer.frames(used.frameFilename, used.frameLineno);
  writer.nodes(used.nodeParent.subarray(1), used.nodeFrame.subarray(1));
  writer.tracebacks(used.tracebackNode, used.tracebackTotal);
  writer.traces({ domain, size, count, traceback: used.traceTraceback });
  writer.finish();
}

/** The bytes of a snapshot, in memory. */
export function snapshotBytes(columns: SnapshotColumns, metadata: SnapshotMetadata): Uint8Array {
  const chunks: Uint8Array[] = [];
  writeSnapshot(columns, metadata, { write: (bytes) => chunks.push(bytes.slice()) });
  return concat(chunks);
}

/** The same snapshot without tracebacks, nodes, frames and file names that no trace refers to. */
function selectUsed(columns: SnapshotColumns): SnapshotColumns {
  const { tracebackNode, nodeParent, nodeFrame, frameFilename, filenames } = columns;
  const tracebacks = new Uint8Array(tracebackNode.length);
  const { traceTraceback } = columns;
  for (let i = 0; i < traceTraceback.length; i++) tracebacks[traceTraceback[i]!] = 1;
  const nodes = new Uint8Array(nodeParent.length);
  for (let i = 0; i < tracebacks.length; i++) if (tracebacks[i]) nodes[tracebackNode[i]!] = 1;
  // A node comes after its parent, so that going backwards every user of a node is seen before it.
  for (let i = nodes.length - 1; i > 0; i--) if (nodes[i]) nodes[nodeParent[i]!] = 1;
  nodes[0] = 1;
  const frames = new Uint8Array(frameFilename.length);
  for (let i = 1; i < nodes.length; i++) if (nodes[i]) frames[nodeFrame[i]!] = 1;
  const names = new Uint8Array(filenames.length);
  for (let i = 0; i < frames.length; i++) if (frames[i]) names[frameFilename[i]!] = 1;
  if (![tracebacks, nodes, frames, names].some((marks) => marks.includes(0))) return columns;

  const newTraceback = newNumbers(tracebacks);
  const newNode = newNumbers(nodes);
  const newFrame = newNumbers(frames);
  const newName = newNumbers(names);
  return {
    ...columns,
    filenames: filenames.filter((_, i) => names[i]),
    frameFilename: select(frameFilename, frames, newName),
    frameLineno: select(columns.frameLineno, frames),
    nodeParent: select(nodeParent, nodes, newNode),
    nodeFrame: select(nodeFrame, nodes, newFrame),
    tracebackNode: select(tracebackNode, tracebacks, newNode),
    tracebackTotal: select(columns.tracebackTotal, tracebacks),
    traceTraceback: columns.traceTraceback.map((traceback) => newTraceback[traceback]!),
  };
}

/** For every marked entry its number among the marked ones. */
function newNumbers(marks: Uint8Array): Uint32Array {
  const numbers = new Uint32Array(marks.length);
  let next = 0;
  for (let i = 0; i < marks.length; i++) if (marks[i]) numbers[i] = next++;
  return numbers;
}

/** The marked values, each replaced by its new number where there are such. */
function select(values: Uint32Array, marks: Uint8Array, numbers?: Uint32Array): Uint32Array {
  const selected = values.filter((_, i) => marks[i]);
  return numbers === undefined ? selected : selected.map((value) => numbers[value]!);
}

function* batches(length: number, most: number): Generator<[start: number, end: number], void, undefined> {
  for (let start = 0; start < length; start += most) yield [start, Math.min(length, start + most)];
}

function sharedPrefix(a: Uint8Array, b: Uint8Array): number {
  const length = Math.min(a.length, b.length);
  let i = 0;
  while (i < length && a[i] === b[i]) i++;
  return i;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
