/** A kind of memory that this library can trace by itself. */
export type DomainName = "native" | "js-heap" | "array-buffer" | "mmap";

/**
 * The numbers of the domains, as they stand in {@linkcode Trace.domain}. Numbers from 16 on are the user's.
 *
 * - `native` (0): blocks of the malloc family
 * - `js-heap` (1): objects in the engine's heap
 * - `array-buffer` (2): backing stores traced at the JavaScript level, only on a Bun whose own allocator cannot be traced
 * - `mmap` (3): anonymous mappings, only on request
 *
 * @example Only what was allocated with malloc
 * ```ts
 * import { Domain, DomainFilter, Snapshot } from "@x/tracemalloc";
 *
 * const snapshot = new Snapshot([], 1);
 * snapshot.filterTraces([new DomainFilter(true, Domain.native)]);
 * ```
 */
export const Domain: { readonly [Name in DomainName]: number } = Object.freeze({
  "native": 0,
  "js-heap": 1,
  "array-buffer": 2,
  "mmap": 3,
});

/** The name of a domain, or its number where it has none. */
export function domainName(domain: number): string {
  return Object.entries(Domain).find(([, number]) => number === domain)?.[0] ?? `domain ${domain}`;
}
