import { writeSync } from "node:fs";
import { openReplacement } from "../format/file.ts";
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

/** Writes text to standard error. */
export function printError(text: string): void {
  write(2, new TextEncoder().encode(text));
}

/** Characters of text that are written at once. */
const BUFFERED = 2 ** 18;

/**
 * Writes what comes piece by piece to a file, which is replaced only when all is there, or to standard output.
 *
 * @throws {OutputClosedError} Where nobody reads it any more.
 * @throws {TracemallocError} Where it cannot be written for another reason.
 */
export async function writeOutput(
  path: string | undefined,
  pieces: Iterable<string> | AsyncIterable<string | Uint8Array>,
): Promise<void> {
  if (path === undefined) {
    for await (const chunk of chunksOf(pieces)) write(1, chunk);
    return;
  }
  const replacement = openReplacement(path);
  try {
    for await (const chunk of chunksOf(pieces)) replacement.write(chunk);
    replacement.commit();
  } catch (error) {
    replacement.abort();
    throw error;
  }
}

async function* chunksOf(
  pieces: Iterable<string> | AsyncIterable<string | Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const encoder = new TextEncoder();
  let text = "";
  for await (const piece of pieces) {
    if (typeof piece !== "string") {
      yield piece;
      continue;
    }
    text += piece;
    if (text.length < BUFFERED) continue;
    yield encoder.encode(text);
    text = "";
  }
  if (text !== "") yield encoder.encode(text);
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
