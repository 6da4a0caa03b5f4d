import { describe } from "./check.ts";
import type { SnapshotColumns } from "./columns.ts";
import { Dictionary } from "./dictionary.ts";
import { PairTable } from "./pair_table.ts";
import { Trace } from "./trace.ts";
import { totalOf } from "./traces.ts";

/** The columns of some traces, a row each, in their order. */
export function buildColumns(traces: Iterable<Trace>, tracebackLimit: number): SnapshotColumns {
  const rows = Array.from(traces);
  const dictionary = new Dictionary();
  /** Nodes where tracebacks end, and totals. */
  const tracebacks = new PairTable();
  const traceDomain = new Uint32Array(rows.length);
  const traceSize = new Float64Array(rows.length);
  const traceTraceback = new Uint32Array(rows.length);
  rows.forEach((trace: unknown, row) => {
    if (!(trace instanceof Trace)) throw new TypeError(`traces must be instances of Trace, not ${describe(trace)}`);
    let node = 0;
    for (const { filename, lineno } of trace.traceback) {
      node = dictionary.node(node, dictionary.frame(dictionary.filename(filename), lineno));
    }
    traceDomain[row] = trace.domain;
    traceSize[row] = trace.size;
    traceTraceback[row] = tracebacks.intern(node, totalOf(trace.traceback));
  });
  return {
    tracebackLimit,
    ...dictionary.columns(),
    tracebackNode: tracebacks.first.slice(0, tracebacks.length),
    tracebackTotal: tracebacks.second.slice(0, tracebacks.length),
    traceDomain,
    traceSize,
    traceCount: new Float64Array(rows.length).fill(1),
    traceTraceback,
  };
}
