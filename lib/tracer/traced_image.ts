/** All that a snapshot is made from, and how it goes from the traced process to the one that writes the snapshot. */
import type { SnapshotMetadata } from "../model/columns.ts";
import { type Snapshot, snapshotFromColumns } from "../model/snapshot.ts";
import type { HeapType } from "../runtime/backend.ts";
import { type Image, readImage } from "./image.ts";
import { type NamedFrame, type NamedRow, nameImage, tiersSeen } from "./naming.ts";

/** An image with what is known of the process, and with the names of its frames or without. */
export interface RawImage {
  readonly image: Image;
  /** By the frame's index in the image; `undefined` where the process could not name them any more. */
  readonly names: readonly NamedFrame[] | undefined;
  readonly metadata: SnapshotMetadata;
  /** Objects of the engine's heap that are known by type alone. */
  readonly types?: readonly HeapType[];
  readonly functions?: FunctionTraces;
}

/** Objects of the engine's heap by function, where their lines are not known; beside the rows of the image. */
export interface FunctionTraces {
  /** When the engine took them, in milliseconds since 1970; `undefined`: it has not yet. */
  readonly takenAt: number | undefined;
  readonly rows: readonly NamedRow[];
}

/** An image with the names of its frames. */
export interface TracedImage extends RawImage {
  readonly names: readonly NamedFrame[];
}

/** The snapshot of an image; without metadata, nothing but its traces. */
export function snapshotOf({ image, names, metadata, functions, types }: TracedImage, withMetadata = true): Snapshot {
  const { columns, attribution } = nameImage(image, names, functions?.rows, types);
  if (!withMetadata) return snapshotFromColumns(columns, {});
  const calibration = new Map(metadata.calibration);
  if (functions) calibration.set("js-heap profile", ageOf(functions, metadata.createdAt));
  for (const [tier, frames] of tiersSeen(image)) calibration.set(`frames seen: ${tier}`, String(frames));
  return snapshotFromColumns(columns, { ...metadata, calibration, attribution });
}

function ageOf({ takenAt }: FunctionTraces, createdAt: number | undefined): string {
  if (takenAt === undefined) return "none yet: the program has not returned to its event loop";
  return `${Math.max(0, (createdAt ?? takenAt) - takenAt)} ms older than the snapshot`;
}

/**
 * A transfer is the length of a head (u32), the head as JSON, zeros to a multiple of 8 bytes, and the image. Both sides are
 * of the same version: the process that starts the program reads what it leaves. Without JavaScript there is no head.
 */
interface Head {
  readonly names?: readonly NamedFrame[];
  readonly types?: readonly HeapType[];
  readonly metadata: Omit<SnapshotMetadata, "calibration">;
  readonly calibration: readonly (readonly [string, string])[];
  readonly functions?: FunctionTraces;
}

/** What stands before the image in a transfer. */
export function transferHead(
  { names, functions, types, metadata: { calibration, ...metadata } }:
    & Pick<TracedImage, "metadata">
    & Partial<TracedImage>,
): Uint8Array<ArrayBuffer> {
  const head: Head = {
    ...(names && { names }),
    ...(functions && { functions }),
    ...(types && { types }),
    metadata,
    calibration: [...calibration ?? []],
  };
  const text = new TextEncoder().encode(JSON.stringify(head));
  const bytes = new Uint8Array((4 + text.length + 7) & ~7);
  new DataView(bytes.buffer).setUint32(0, text.length, true);
  bytes.set(text, 4);
  return bytes;
}

/** Reads what a traced process left. */
export function readTransfer(bytes: Uint8Array<ArrayBuffer>): RawImage {
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const text = new TextDecoder().decode(bytes.subarray(4, 4 + length));
  const { names, metadata, calibration, functions, types }: Head = length === 0
    ? { metadata: {}, calibration: [] }
    : JSON.parse(text);
  // A copy: the columns of an image must be aligned.
  const image = readImage(bytes.slice((4 + length + 7) & ~7));
  return {
    image,
    names,
    metadata: { ...metadata, pid: image.pid, calibration: new Map(calibration) },
    ...(functions && { functions }),
    ...(types && { types }),
  };
}
