import type { SnapshotBatch } from "../format/decoder.ts";
import { type ByteSource, readBatches, type SnapshotReader } from "../format/reader.ts";
import type { Grouping } from "../model/group.ts";

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

/** Adds what a batch holds to a grouping. */
export function addBatch(grouping: Grouping, batch: SnapshotBatch): void {
  switch (batch.kind) {
    case "metadata":
      break;
    case "strings":
      grouping.addFilenames(batch.values);
      break;
    case "frames":
      grouping.addFrames(batch.filename, batch.lineno);
      break;
    case "nodes":
      grouping.addNodes(batch.parent, batch.frame);
      break;
    case "tracebacks":
      grouping.addTracebacks(batch.node);
      break;
    case "traces":
      grouping.addTraces(batch.domain, batch.size, batch.count, batch.traceback);
      break;
  }
}
