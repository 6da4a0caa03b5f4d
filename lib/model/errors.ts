/**
 * Base of the errors of this library. Bad arguments are a `TypeError` or a `RangeError` instead.
 *
 * @example Telling causes apart
 * ```ts
 * import { Snapshot, TracemallocError } from "@x/tracemalloc";
 * import { assertEquals, assertThrows } from "@std/assert";
 *
 * const error = assertThrows(() => Snapshot.load("no such file"), TracemallocError);
 * assertEquals(error.code, "ENOENT");
 * ```
 */
export class TracemallocError extends Error {
  /** The name of the class. */
  override readonly name: string = "TracemallocError";
  /**
   * A short name of the cause, for programs: `"NOT_TRACING"`, `"SNAPSHOT_FORMAT"`, `"UNSUPPORTED"`, or that of the
   * system, for instance `"ENOENT"`.
   */
  readonly code: string;

  /**
   * Makes an error.
   *
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
   * Makes an error.
   *
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
   * Makes an error.
   *
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
   * Makes an error.
   *
   * @param message What is wrong, for people.
   * @param options The error that caused this one.
   */
  constructor(message: string, options?: ErrorOptions) {
    super(message, "UNSUPPORTED", options);
  }
}
