/** Options of V8 that must be given when a program starts; `tracemalloc run` gives them. */

/** V8 keeps source positions only when asked to. */
export const positionFlags: readonly string[] = ["--detailed-line-info"];

/**
 * Optimised code does not always say where it makes an object. Maglev's never does; TurboFan's charges it to the object
 * before where it makes room for both at once, and to the statement before where it inlines a constructor that it does not
 * hold to be small (such calls are inlined last, when their positions are forgotten: V8 src/compiler/js-inlining-heuristic.cc).
 */
export const heapFlags: readonly string[] = [
  ...positionFlags,
  "--no-maglev",
  "--no-turbo-allocation-folding",
  "--max-inlined-bytecode-size-small=460",
];

/** Node keeps source positions by itself. */
export const nodeHeapFlags: readonly string[] = heapFlags.filter((flag) => !positionFlags.includes(flag));
