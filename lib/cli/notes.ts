import type { SnapshotMetadata } from "../model/columns.ts";
import { printError } from "./output.ts";

/** What of a calibration whoever reads lines has to know; `info` shows all of it. */
const noted: readonly string[] = ["js-heap lines", "js-heap profile", "js-heap ended", "js-heap threads not sampled"];

/** Says on standard error what the lines of a snapshot are not. */
export function printNotes({ calibration }: SnapshotMetadata): void {
  for (const name of noted) {
    const value = calibration?.get(name);
    if (value !== undefined) printError(`tracemalloc: note: ${name}: ${value}\n`);
  }
}
