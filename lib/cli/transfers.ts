import { spawnSync } from "node:child_process";
import { readFileSync, statSync } from "node:fs";
import { TracemallocError } from "../model/errors.ts";
import type { SnapshotMetadata } from "../model/columns.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { type NamedFrame, Namer } from "../tracer/naming.ts";
import { type RawImage, readTransfer, snapshotOf } from "../tracer/traced_image.ts";

/** How the frames of a transfer are named outside of the process that it is of. */
export interface NamingCommand {
  readonly executable: string;
  readonly args: readonly string[];
}

/** Names of the frames of one process, which has all of those in an image again in the next, and new ones behind them. */
export interface KnownNames {
  names: readonly NamedFrame[];
}

/**
 * The snapshot of a transfer that a traced process left, when it was taken, in milliseconds since 1970, and what the process
 * said of itself. Without a command all frames that could be named have their names in the image. `known` is kept from one
 * transfer of a process to the next: naming costs a process.
 */
export function snapshotOfTransfer(
  path: string,
  command: NamingCommand | undefined,
  withMetadata: boolean,
  known: KnownNames = { names: [] },
): { snapshot: Snapshot; createdAt: number; metadata: SnapshotMetadata } {
  const bytes = new Uint8Array(readFileSync(path));
  const raw = readTransfer(bytes);
  const createdAt = Math.trunc(statSync(path).mtimeMs);
  if (raw.names !== undefined) known.names = raw.names;
  else if (known.names.length !== raw.image.frameKind.length) {
    known.names = command ? nameFrames(raw, bytes, command) : new Namer(asTheyAre).name(raw.image);
  }
  const { names } = known;
  return {
    snapshot: snapshotOf({ ...raw, names, metadata: { ...raw.metadata, createdAt } }, withMetadata),
    createdAt,
    metadata: raw.metadata,
  };
}

const asTheyAre = (_url: string, positions: readonly unknown[]) => positions.map(() => undefined);

function nameFrames(raw: RawImage, bytes: Uint8Array, { executable, args }: NamingCommand): NamedFrame[] {
  const { status, stdout, stderr, error } = spawnSync(executable, args, { input: bytes, maxBuffer: 2 ** 30 });
  if (error) throw new TracemallocError(`${executable} cannot be started: ${error.message}`, "SPAWN", { cause: error });
  if (status !== 0) throw new TracemallocError(`the frames could not be named: ${stderr}`, "NAMING");
  const names: NamedFrame[] = JSON.parse(new TextDecoder().decode(stdout));
  if (names.length !== raw.image.frameKind.length) {
    throw new Error(`${names.length} names of ${raw.image.frameKind.length}`);
  }
  return names;
}
