import type { TracebackTable } from "../aggregate/traceback_sums.ts";

/** A frame as other tools name it: `a.ts:3`; what has no line, native code for instance, by its name alone. */
export function frameLabel(filename: string, lineno: number): string {
  return lineno === 0 ? filename : `${filename}:${lineno}`;
}

/** The labels of all frames of a table, by number. */
export function frameLabels({ filenames, frameFilename, frameLineno }: TracebackTable): string[] {
  return Array.from(frameFilename, (filename, i) => frameLabel(filenames[filename]!, frameLineno[i]!));
}

/** The frames of the traceback that ends at a node, the most recent first. */
export function framesUp({ nodeParent, nodeFrame }: TracebackTable, node: number): number[] {
  const frames: number[] = [];
  for (; node !== 0; node = nodeParent[node]!) frames.push(nodeFrame[node]!);
  return frames;
}

/** Likewise, the oldest first. */
export function framesDown(table: TracebackTable, node: number): number[] {
  return framesUp(table, node).reverse();
}

/**
 * Whole numbers for formats that take no others. What rounding adds or takes is made up for by the next value, so that
 * the sum is that of the values, rounded; whole numbers stay as they are.
 */
export function wholeNumbers(values: Float64Array): Float64Array {
  let rest = 0;
  return values.map((value) => {
    const whole = Math.round(value + rest);
    rest = Math.abs(value) < Number.MAX_SAFE_INTEGER ? value + rest - whole : 0;
    return whole;
  });
}
