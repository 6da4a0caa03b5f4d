import type { SnapshotColumns, SnapshotMetadata } from "./columns.ts";
import { UnsupportedError } from "./errors.ts";

/** A snapshot as it is written and read. */
export interface SnapshotData {
  readonly columns: SnapshotColumns;
  readonly metadata: SnapshotMetadata;
}

/**
 * How snapshots are written and read. This folder knows neither the format nor files, so that it runs in a browser:
 * whoever knows both hands the functions over, and without them `dump`, `load`, `toStream` and `fromStream` say that
 * they cannot.
 */
export interface SnapshotCodec {
  dump(path: string | URL, data: SnapshotData): void;
  load(path: string | URL): SnapshotData;
  toStream(data: SnapshotData): ReadableStream<Uint8Array>;
  fromStream(stream: ReadableStream<Uint8Array>): Promise<SnapshotData>;
}

let codec: SnapshotCodec | undefined;

/** Says how snapshots are written and read from now on. */
export function useCodec(replacement: SnapshotCodec | undefined): void {
  codec = replacement;
}

/** @throws {UnsupportedError} If nobody has said how. */
export function currentCodec(): SnapshotCodec {
  if (codec === undefined) {
    throw new UnsupportedError("snapshots cannot be written or read by lib/model alone: import mod.ts instead");
  }
  return codec;
}
