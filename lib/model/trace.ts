import { checkWhole, describe, maxSize, maxUint32 } from "./check.ts";
import { formatSize } from "./format_number.ts";
import { inspectAs, repr } from "./inspect.ts";
import { Traceback } from "./traceback.ts";

/**
 * A block of memory: how large it is and where it was allocated.
 *
 * @example Usage
 * ```ts
 * import { Frame, Trace, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const trace = new Trace(0, 4096, new Traceback([new Frame("a.ts", 3)]));
 * assertEquals(trace.toString(), "a.ts:3: 4096 B");
 * ```
 */
export class Trace {
  /** Which kind of memory, see {@linkcode Domain}. */
  readonly domain: number;
  /** Bytes of the block. */
  readonly size: number;
  /** Where it was allocated. */
  readonly traceback: Traceback;

  /**
   * Makes a trace.
   *
   * @param domain Which kind of memory, a whole number from 0 to 4294967295.
   * @param size Bytes, a whole number below 2^53.
   * @param traceback Where the block was allocated.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If a number is out of range.
   */
  constructor(domain: number, size: number, traceback: Traceback) {
    checkWhole("domain", domain, maxUint32);
    checkWhole("size", size, maxSize);
    if (!(traceback instanceof Traceback)) {
      throw new TypeError(`traceback must be a Traceback, not ${describe(traceback)}`);
    }
    this.domain = domain;
    this.size = size;
    this.traceback = traceback;
  }

  /**
   * Compares with anything.
   *
   * @param other Anything.
   * @returns Whether `other` is a trace with the same domain and size, equal frames and the same `totalNframe`.
   */
  equals(other: unknown): boolean {
    return other instanceof Trace && other.domain === this.domain && other.size === this.size &&
      other.traceback.totalNframe === this.traceback.totalNframe && other.traceback.equals(this.traceback);
  }

  /**
   * Writes it as a line of text.
   *
   * @returns Where and how much: `a.ts:3: 97.7 KiB`.
   */
  toString(): string {
    return `${this.traceback}: ${formatSize(this.size)}`;
  }
}

inspectAs(
  Trace,
  ({ domain, size, traceback }) => `<Trace domain=${domain} size=${formatSize(size)}, traceback=${repr(traceback)}>`,
);
