import { checkBoolean, checkWhole, maxUint32 } from "./check.ts";
import { reprBoolean } from "./filter.ts";
import { inspectAs } from "./inspect.ts";

/**
 * Selects traces by their domain alone, for {@linkcode Snapshot.filterTraces}.
 *
 * @example Usage
 * ```ts
 * import { DomainFilter, Snapshot, Trace, Traceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const snapshot = new Snapshot([new Trace(0, 64, new Traceback([])), new Trace(16, 32, new Traceback([]))], 1);
 * assertEquals(snapshot.filterTraces([new DomainFilter(true, 16)]).traces.at(0)?.size, 32);
 * ```
 */
export class DomainFilter {
  /** Whether the domain is kept and all others dropped, or the other way round. */
  readonly inclusive: boolean;
  /** Number of the domain, see {@linkcode Domain}. */
  readonly domain: number;

  /**
   * Makes a filter.
   *
   * @param inclusive Whether to keep the domain and drop all others, or the other way round.
   * @param domain Number of the domain, a whole number from 0 to 4294967295.
   * @throws {TypeError} If an argument is of another type.
   * @throws {RangeError} If `domain` is out of range.
   */
  constructor(inclusive: boolean, domain: number) {
    checkBoolean("inclusive", inclusive);
    checkWhole("domain", domain, maxUint32);
    this.inclusive = inclusive;
    this.domain = domain;
  }
}

inspectAs(
  DomainFilter,
  ({ inclusive, domain }) => `<DomainFilter inclusive=${reprBoolean(inclusive)} domain=${domain}>`,
);
