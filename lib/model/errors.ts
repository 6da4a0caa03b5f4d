/**
 * Base of the errors of this library. Bad arguments are a `TypeError` or a `RangeError` instead.
 *
 * @example Telling causes apart
 * ```ts
 * import { takeSnapshot, TracemallocError } from "@x/tracemalloc";
 *
 * try {
 *   takeSnapshot();
 * } catch (error) {
 *   if (!(error instanceof TracemallocError)) throw error;
 *   console.error(error.code); // NOT_TRACING
 * }
 * ```
 */
export class TracemallocError extends Error {
  /** The name of the class. */
  override readonly name: string = "TracemallocError";
  /** A short name of the cause, for programs: `"NOT_TRACING"`, `"SNAPSHOT_FORMAT"`, `"UNSUPPORTED"`. */
  readonly code: string;

  /**
   * @param message What is wrong, for people.
   * @param code A short name of the cause, for programs.
   * @param options The error that caused this one.
   */
  constructor(message: string, code: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

/** Thrown by what needs tracing while nothing is traced. */
export class NotTracingError extends TracemallocError {
  /** The name of the class. */
  override readonly name = "NotTracingError";

  /**
   * @param message What is wrong, for people.
   * @param options The error that caused this one.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, "NOT_TRACING", options);
  }
}

/** A snapshot file that is bad, cut, foreign or newer than this library. */
export class SnapshotFormatError extends TracemallocError {
  /** The name of the class. */
  override readonly name = "SnapshotFormatError";
  /** Where in the file, in bytes from its start. */
  readonly offset: number;

  /**
   * @param message What is wrong, for people.
   * @param offset Where in the file, in bytes from its start.
   * @param options The error that caused this one.
   */
  constructor(message: string, offset: number, options?: ErrorOptions) {
    super(message, "SNAPSHOT_FORMAT", options);
    this.offset = offset;
  }
}

/** What this platform or runtime cannot do, or not without a permission, a flag or a package; the message says which. */
export class UnsupportedError extends TracemallocError {
  /** The name of the class. */
  override readonly name = "UnsupportedError";

  /**
   * @param message What is wrong, for people.
   * @param options The error that caused this one.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, "UNSUPPORTED", options);
  }
}
