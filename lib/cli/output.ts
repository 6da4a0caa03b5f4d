import { writeSync } from "node:fs";
import { TracemallocError } from "../model/errors.ts";

/** The reader of standard output has gone, as `head` does; there is nobody left to tell. */
export class OutputClosedError extends Error {
  override readonly name = "OutputClosedError";
}

/**
 * Writes text to standard output, all of it before it returns.
 *
 * @throws {OutputClosedError} Where nobody reads it any more.
 * @throws {TracemallocError} Where it cannot be written for another reason.
 */
export function print(text: string): void {
  // Lone surrogates in file names become U+FFFD here.
  write(1, new TextEncoder().encode(text));
}

/** Likewise bytes. */
export function printBytes(bytes: Uint8Array): void {
  write(1, bytes);
}

/** Writes text to standard error. */
export function printError(text: string): void {
  write(2, new TextEncoder().encode(text));
}

function write(file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(file, bytes, at, bytes.length - at);
    } catch (error) {
      const code = error instanceof Error && "code" in error ? error.code : undefined;
      if (code === "EPIPE") throw new OutputClosedError("nobody reads the output", { cause: error });
      if (code !== "EAGAIN") {
        const stream = file === 1 ? "standard output" : "standard error";
        const reason = error instanceof Error ? error.message : String(error);
        throw new TracemallocError(`cannot write to ${stream}: ${reason}`, "OUTPUT", { cause: error });
      }
      // A pipe that another process has made non-blocking is full.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    }
  }
}
