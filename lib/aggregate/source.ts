import type { SnapshotBatch } from "../format/decoder.ts";
import { type ByteSource, readBatches, type SnapshotReader } from "../format/reader.ts";

/** Where a snapshot comes from: the path of a file, or its bytes as a stream. */
export type SnapshotSource = string | ByteSource;

/** The batches of a snapshot; memory is bounded by one of them. */
export async function* batchesOf(
  source: SnapshotSource,
  reader: SnapshotReader,
): AsyncGenerator<SnapshotBatch, void, undefined> {
  if (typeof source !== "string") {
    yield* readBatches(source, reader);
    return;
  }
  // Only who names a file needs the file system: a browser does not have the module's imports.
  const { readFileBatches } = await import("../format/file.ts");
  yield* readFileBatches(source, reader);
}

/** What takes the tables and rows of a snapshot piece by piece: see `Grouping`. */
export interface BatchTarget {
  /** Adds file names, numbered on from those added before. */
  addFilenames(filenames: readonly string[]): void;
  /** Adds frames: numbers of file names, lines. */
  addFrames(filename: Uint32Array, lineno: Uint32Array): void;
  /** Adds nodes, from number 1 on: numbers of their parents, of their frames. */
  addNodes(parent: Uint32Array, frame: Uint32Array): void;
  /** Adds tracebacks: numbers of the nodes where they end. */
  addTracebacks(node: Uint32Array): void;
  /** Adds rows: domains, sizes of one block in bytes, numbers of blocks, numbers of tracebacks. */
  addTraces(domain: Uint32Array, size: Float64Array, count: Float64Array, traceback: Uint32Array): void;
}

/** Adds what a batch holds to a grouping, or to another target. */
export function addBatch(target: BatchTarget, batch: SnapshotBatch): void {
  switch (batch.kind) {
    case "metadata":
      break;
    case "strings":
      target.addFilenames(batch.values);
      break;
    case "frames":
      target.addFrames(batch.filename, batch.lineno);
      break;
    case "nodes":
      target.addNodes(batch.parent, batch.frame);
      break;
    case "tracebacks":
      target.addTracebacks(batch.node);
      break;
    case "traces":
      target.addTraces(batch.domain, batch.size, batch.count, batch.traceback);
      break;
  }
}
