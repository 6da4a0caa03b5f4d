import { checkString, checkWhole, maxUint32 } from "./check.ts";
import { compareStrings } from "./compare_strings.ts";
import { inspectAs } from "./inspect.ts";
import { reprString } from "./repr_string.ts";

/**
 * One level of a {@linkcode Traceback}: a line of a file.
 *
 * @example Usage
 * ```ts
 * import { Frame } from "@x/tracemalloc";
 * import { assert, assertEquals } from "@std/assert";
 *
 * const frame = new Frame("a.ts", 3);
 * assertEquals(frame.toString(), "a.ts:3");
 * assert(frame.compareTo(new Frame("a.ts", 20)) < 0);
 * ```
 */
export class Frame {
  /** File name, as the runtime gives it: a path or a URL. */
  readonly filename: string;
  /** Line in the file, from 1; 0 where it is not known or all lines are meant. */
  readonly lineno: number;

  /**
   * Makes a frame.
   *
   * @param filename File name.
   * @param lineno Line, a whole number from 0 to 4294967295.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If `lineno` is out of range.
   */
  constructor(filename: string, lineno: number) {
    checkString("filename", filename);
    checkWhole("lineno", lineno, maxUint32);
    this.filename = filename;
    this.lineno = lineno;
  }

  /**
   * Compares with anything.
   *
   * @param other Anything.
   * @returns Whether `other` is a frame with the same file name and line.
   */
  equals(other: unknown): boolean {
    return other instanceof Frame && other.lineno === this.lineno && other.filename === this.filename;
  }

  /**
   * Orders frames by file name (by code point), then by line.
   *
   * @param other The frame to compare with.
   * @returns Less than 0, 0 or greater than 0, as this frame comes before, equals or comes after `other`.
   */
  compareTo(other: Frame): number {
    return compareStrings(this.filename, other.filename) || this.lineno - other.lineno;
  }

  /**
   * Writes it as a line of text.
   *
   * @returns File name and line: `a.ts:3`.
   */
  toString(): string {
    return `${this.filename}:${this.lineno}`;
  }
}

inspectAs(Frame, ({ filename, lineno }) => `<Frame filename=${reprString(filename)} lineno=${lineno}>`);
