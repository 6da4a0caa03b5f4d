import type { SnapshotColumns, SnapshotMetadata } from "./columns.ts";
import { UnsupportedError } from "./errors.ts";

/** How a snapshot is read. */
export interface LoadOptions {
  /**
   * Whether to take what is whole of a cut or damaged file instead of throwing; what is missing is then said by
   * {@linkcode Snapshot.damage}. A file that is foreign, newer, or wrong inside a whole message still throws.
   */
  readonly partial?: boolean;
}

/** Where and why reading a cut or damaged file stopped before its end. */
export interface Damage {
  /** Where the first byte is that could not be used, in bytes from the start of the file. */
  readonly offset: number;
  /** What was expected there and what was found, as the end of a sentence. */
  readonly text: string;
}

/** A snapshot as it is written and read. */
export interface SnapshotData {
  readonly columns: SnapshotColumns;
  readonly metadata: SnapshotMetadata;
  /** `null` where all was read. */
  readonly damage: Damage | null;
}

/**
 * How snapshots are written and read. This folder knows neither the format nor files, so that it runs in a browser:
 * whoever knows both hands the functions over, and without them `dump`, `load`, `toStream` and `fromStream` say that
 * they cannot.
 */
export interface SnapshotCodec {
  dump(path: string | URL, data: SnapshotData): void;
  load(path: string | URL, options: LoadOptions): SnapshotData;
  toStream(data: SnapshotData): ReadableStream<Uint8Array>;
  fromStream(stream: ReadableStream<Uint8Array>, options: LoadOptions): Promise<SnapshotData>;
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
