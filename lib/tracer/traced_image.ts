/** All that a snapshot is made from, and how it goes from the traced process to the one that writes the snapshot. */
import type { SnapshotMetadata } from "../model/columns.ts";
import { type Snapshot, snapshotFromColumns } from "../model/snapshot.ts";
import { type Image, readImage } from "./image.ts";
import { type NamedFrame, nameImage } from "./naming.ts";

/** An image with the names of its frames and what is known of the process. */
export interface TracedImage {
  readonly image: Image;
  /** By the frame's index in the image. */
  readonly names: readonly NamedFrame[];
  readonly metadata: SnapshotMetadata;
}

/** The snapshot of an image. */
export function snapshotOf({ image, names, metadata }: TracedImage): Snapshot {
  const { columns, attribution } = nameImage(image, names);
  return snapshotFromColumns(columns, { ...metadata, attribution });
}

/**
 * A transfer is the length of a head (u32), the head as JSON, zeros to a multiple of 8 bytes, and the image. Both sides are
 * of the same version: the process that starts the program reads what it leaves.
 */
interface Head {
  readonly names: readonly NamedFrame[];
  readonly metadata: Omit<SnapshotMetadata, "calibration">;
  readonly calibration: readonly (readonly [string, string])[];
}

/** What stands before the image in a transfer. */
export function transferHead({ names, metadata: { calibration, ...metadata } }: TracedImage): Uint8Array<ArrayBuffer> {
  const head: Head = { names, metadata, calibration: [...calibration ?? []] };
  const text = new TextEncoder().encode(JSON.stringify(head));
  const bytes = new Uint8Array((4 + text.length + 7) & ~7);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  return bytes;
}

/** Reads what a traced process left. */
export function readTransfer(bytes: Uint8Array<ArrayBuffer>): TracedImage {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const { names, metadata, calibration }: Head = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  return {
    // A copy: the columns of an image must be aligned.
    image: readImage(bytes.slice((4 + length + 7) & ~7)),
    names,
    metadata: { ...metadata, calibration: new Map(calibration) },
  };
}
