import fc from "fast-check";
import { DomainFilter } from "../../lib/model/domain_filter.ts";
import { Filter } from "../../lib/model/filter.ts";
import { Frame } from "../../lib/model/frame.ts";
import { Snapshot, snapshotData, snapshotFromColumns } from "../../lib/model/snapshot.ts";
import { Trace } from "../../lib/model/trace.ts";
import { Traceback } from "../../lib/model/traceback.ts";

// Few values of each kind, so that snapshots have groups in common.
const filename = fc.constantFrom("a.ts", "b.ts", "src/a.ts", "～.ts", "😀.ts", "a.pyc", "");
const frame = fc.tuple(filename, fc.constantFrom(0, 1, 2, 2 ** 32 - 1)).map(([name, lineno]) =>
  new Frame(name, lineno)
);
const traceback = fc.tuple(fc.array(frame, { maxLength: 4 }), fc.option(fc.integer({ min: 0, max: 9 })))
  .map(([frames, total]) => new Traceback(frames, total));
const domain = fc.constantFrom(0, 0, 1, 16, 2 ** 32 - 1);
const size = fc.oneof(fc.constantFrom(0, 1, 64, 64), fc.integer({ min: 0, max: 2 ** 31 - 1 }), fc.constant(2 ** 44));

/** Traces; sums of all of them stay below 2^53, where numbers are exact. */
export const traces: fc.Arbitrary<Trace[]> = fc.array(
  fc.tuple(domain, size, traceback).map(([domain, size, traceback]) => new Trace(domain, size, traceback)),
  { maxLength: 20 },
);

/** A snapshot whose rows are one block each. */
export const snapshot: fc.Arbitrary<Snapshot> = traces.map((traces) => new Snapshot(traces, 4));

/** A snapshot whose rows stand for one to three blocks, beside all these blocks as traces. */
export const weighted: fc.Arbitrary<{ rows: Snapshot; expanded: Trace[] }> = traces.chain((traces) =>
  fc.array(fc.integer({ min: 1, max: 3 }), { minLength: traces.length, maxLength: traces.length }).map((counts) => ({
    rows: withCounts(new Snapshot(traces, 4), counts),
    expanded: traces.flatMap((trace, i) => Array<Trace>(counts[i]!).fill(trace)),
  }))
);

function withCounts(snapshot: Snapshot, counts: readonly number[]): Snapshot {
  const { columns, metadata } = snapshotData(snapshot);
  return snapshotFromColumns({ ...columns, traceCount: Float64Array.from(counts) }, metadata);
}

/** What makes a filter except whether it is inclusive. */
export type MakeFilter = (inclusive: boolean) => Filter | DomainFilter;

const pattern = fc.oneof(
  filename,
  fc.constantFrom("*", "a*", "*.ts", "?.ts", "[ab].ts", "[!a]*", "src/*", "*.pyc", "<*"),
);

/** A filter and its twin. */
export const filter: fc.Arbitrary<MakeFilter> = fc.oneof(
  domain.map((domain): MakeFilter => (inclusive) => new DomainFilter(inclusive, domain)),
  fc.record({
    pattern,
    lineno: fc.option(fc.constantFrom(0, 1, 2)),
    allFrames: fc.boolean(),
    domain: fc.option(domain),
  }).map(({ pattern, ...options }): MakeFilter => (inclusive) => new Filter(inclusive, pattern, options)),
);

/** Filters of both kinds. */
export const filters: fc.Arbitrary<(Filter | DomainFilter)[]> = fc.array(
  fc.tuple(filter, fc.boolean()).map(([make, inclusive]) => make(inclusive)),
  { maxLength: 4 },
);
