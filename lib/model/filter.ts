import { checkBoolean, checkString, checkWhole, maxUint32 } from "./check.ts";
import { inspectAs } from "./inspect.ts";
import { reprString } from "./repr_string.ts";

/** What else a {@linkcode Filter} looks at. */
export interface FilterOptions {
  /** Line, from 0; every line where undefined or null. */
  readonly lineno?: number | null;
  /** Whether to look at all frames of a traceback instead of the most recent one. */
  readonly allFrames?: boolean;
  /** Number of a domain, see {@linkcode Domain}; every domain where undefined or null. */
  readonly domain?: number | null;
}

/**
 * Selects traces by the files, lines and domains that they come from, for {@linkcode Snapshot.filterTraces}.
 *
 * @example Usage
 * ```ts
 * import { Filter, Frame, Snapshot, Trace, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const traces = ["a.ts", "lib/b.ts"].map((name) => new Trace(0, 64, new Traceback([new Frame(name, 1)])));
 * const snapshot = new Snapshot(traces, 1);
 * assertEquals(snapshot.filterTraces([new Filter(true, "lib/*")]).traces.length, 1);
 * assertEquals(snapshot.filterTraces([new Filter(false, "*.ts")]).traces.length, 0);
 * ```
 */
export class Filter {
  /** Whether what matches is kept; otherwise it is dropped. */
  readonly inclusive: boolean;
  /** Pattern of the file names, as Python's `fnmatch` understands it; `.pyc` at its end was made `.py`. */
  readonly filenamePattern: string;
  /** Line; null: every one. */
  readonly lineno: number | null;
  /** Whether all frames of a traceback are looked at, or only the most recent one. */
  readonly allFrames: boolean;
  /** Number of a domain; null: every one. */
  readonly domain: number | null;

  /**
   * Makes a filter.
   *
   * @param inclusive Whether to keep what matches; otherwise it is dropped.
   * @param filenamePattern Pattern of the file names: `*` any characters, `?` any one, `[…]` one of these, `[!…]` one
   * of the others.
   * @param options What else to look at.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If a number is not a whole number from 0 to 4294967295.
   */
  constructor(inclusive: boolean, filenamePattern: string, options: FilterOptions = {}) {
    const { lineno = null, allFrames = false, domain = null } = options;
    checkBoolean("inclusive", inclusive);
    checkString("filenamePattern", filenamePattern);
    checkBoolean("allFrames", allFrames);
    if (lineno !== null) checkWhole("lineno", lineno, maxUint32);
    if (domain !== null) checkWhole("domain", domain, maxUint32);
    this.inclusive = inclusive;
    this.filenamePattern = normalizeFilename(filenamePattern);
    this.lineno = lineno;
    this.allFrames = allFrames;
    this.domain = domain;
  }
}

/** Takes a compiled Python file for its source, as CPython does. */
export function normalizeFilename(filename: string): string {
  return filename.endsWith(".pyc") ? filename.slice(0, -1) : filename;
}

inspectAs(
  Filter,
  ({ inclusive, filenamePattern, lineno, allFrames, domain }) =>
    `<Filter inclusive=${reprBoolean(inclusive)} filename_pattern=${reprString(filenamePattern)} ` +
    `lineno=${lineno ?? "None"} all_frames=${reprBoolean(allFrames)} domain=${domain ?? "None"}>`,
);

/** What `repr` gives in Python for a boolean. */
export function reprBoolean(value: boolean): string {
  return value ? "True" : "False";
}
