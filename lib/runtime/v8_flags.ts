/** Options of V8 that must be given when a program starts; `tracemalloc run` gives them. */

/** V8 keeps source positions only when asked to. */
const positionFlags: readonly string[] = ["--detailed-line-info"];

/**
 * Optimised code does not always say where it makes an object. Maglev's never does; TurboFan's charges it to the object
 * before where it makes room for both at once, and to the statement before where it inlines a constructor that it does not
 * hold to be small (such calls are inlined last, when their positions are forgotten: V8 src/compiler/js-inlining-heuristic.cc).
 * Unless it is told both of these, what it says is not used (shim/v8_code.c).
 */
const placeFlags: readonly string[] = ["--no-turbo-allocation-folding", "--max-inlined-bytecode-size-small=460"];

/** What tracing the domains needs; Node keeps source positions by itself. */
export function engineFlags(domains: readonly string[] | undefined, keepsPositions: boolean): string[] {
  const heap = domains?.includes("js-heap"), pages = domains?.includes("mmap");
  return [
    ...(keepsPositions ? [] : positionFlags),
    ...(heap ? ["--no-maglev"] : []),
    ...(heap || pages ? placeFlags : []),
  ];
}

/** For the domain `js-heap`, on Deno. */
export const heapFlags: readonly string[] = engineFlags(["js-heap"], false);
