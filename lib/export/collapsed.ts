import { formatInteger } from "../model/format_number.ts";
import { frameLabels, framesDown, wholeNumbers } from "./frames.ts";
import type { ExportSource, ExportTarget } from "./target.ts";

/**
 * A line a traceback, `oldest;…;most recent BYTES`, as FlameGraph's `flamegraph.pl` and many others read it. Two
 * snapshots give `… OLD NEW`, as its `difffolded.pl` does.
 */
export const collapsed: ExportTarget = {
  name: "collapsed",
  summary: "flamegraph.pl and whatever else reads folded stacks",
  differences: true,
  binary: false,
  *write({ table }: ExportSource) {
    const labels = frameLabels(table).map(escape);
    const size = wholeNumbers(table.size), older = table.older && wholeNumbers(table.older.size);
    // Domains are not told apart, and their rows need not follow each other.
    const sums = new Map<number, [older: number, newer: number]>();
    table.node.forEach((node, row) => {
      const [before, after] = sums.get(node) ?? [0, 0];
      sums.set(node, [before + (older?.[row] ?? 0), after + size[row]!]);
    });
    for (const [node, [before, after]] of sums) {
      const numbers = older === null ? [after] : [before, after];
      if (numbers.every((number) => number === 0)) continue;
      const stack = framesDown(table, node).map((frame) => labels[frame]!);
      yield `${stack.join(";")} ${numbers.map(formatInteger).join(" ")}\n`;
    }
  },
};

/** Semicolons and ends of lines mean something to the readers; they become what URLs write for them. */
function escape(label: string): string {
  return label.replace(/[;\n\r]/g, encodeURIComponent);
}
