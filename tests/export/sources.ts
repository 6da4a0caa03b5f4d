import { TracebackSums } from "../../lib/aggregate/traceback_sums.ts";
import type { ExportSource, ExportTarget } from "../../lib/export/target.ts";
import { type Snapshot, snapshotData } from "../../lib/model/snapshot.ts";

/** What is exported of a snapshot, or of one beside an older one. */
export function sourceOf(snapshot: Snapshot, older?: Snapshot): ExportSource {
  const before = older === undefined ? null : new TracebackSums();
  if (older !== undefined) before!.addColumns(snapshotData(older).columns);
  const sums = new TracebackSums([], before);
  const { columns, metadata } = snapshotData(snapshot);
  sums.addColumns(columns);
  return { table: sums.table(), metadata, tracebackLimit: columns.tracebackLimit };
}

/** All that an export writes. */
export async function bytesOf(target: ExportTarget, source: ExportSource): Promise<Uint8Array<ArrayBuffer>> {
  const chunks: (string | Uint8Array<ArrayBuffer>)[] = [];
  for await (const chunk of target.write(source)) chunks.push(typeof chunk === "string" ? chunk : chunk.slice());
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

/** Likewise as text. */
export async function textOf(target: ExportTarget, source: ExportSource): Promise<string> {
  return new TextDecoder().decode(await bytesOf(target, source));
}
