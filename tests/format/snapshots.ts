import fc from "fast-check";
import type { SnapshotColumns, SnapshotMetadata } from "../../lib/model/columns.ts";

/** A traceback as people write it: frames from the oldest to the most recent. */
type Frames = readonly (readonly [filename: string, lineno: number])[];

/** A row of traces spelled out. */
export interface PlainTrace {
  readonly domain: number;
  readonly size: number;
  readonly count: number;
  readonly frames: Frames;
  /** `totalNframe`, or `null`. */
  readonly total: number | null;
}

/** Columns of traces, with everything interned in the order of first use. */
export function columnsOf(traces: readonly PlainTrace[], tracebackLimit = 1): SnapshotColumns {
  const filenames: string[] = [];
  const nameIndex = new Map<string, number>();
  const frames = new Interned();
  const nodes = new Interned([0, 0]);
  const tracebacks = new Interned();
  const rows = traces.map((trace) => {
    let node = 0;
    for (const [filename, lineno] of trace.frames) {
      let name = nameIndex.get(filename);
      if (name === undefined) {
        name = filenames.push(filename) - 1;
        nameIndex.set(filename, name);
      }
      node = nodes.add(node, frames.add(name, lineno));
    }
    return tracebacks.add(node, trace.total === null ? 0 : trace.total + 1);
  });
  return {
    tracebackLimit,
    filenames,
    frameFilename: frames.first(),
    frameLineno: frames.second(),
    nodeParent: nodes.first(),
    nodeFrame: nodes.second(),
    tracebackNode: tracebacks.first(),
    tracebackTotal: tracebacks.second(),
    traceDomain: Uint32Array.from(traces, (trace) => trace.domain),
    traceSize: Float64Array.from(traces, (trace) => trace.size),
    traceCount: Float64Array.from(traces, (trace) => trace.count),
    traceTraceback: Uint32Array.from(rows),
  };
}

class Interned {
  readonly #pairs: [number, number][];
  readonly #index = new Map<string, number>();

  constructor(...first: [number, number][]) {
    this.#pairs = first;
  }

  add(a: number, b: number): number {
    const key = `${a},${b}`;
    const known = this.#index.get(key);
    if (known !== undefined) return known;
    const index = this.#pairs.push([a, b]) - 1;
    this.#index.set(key, index);
    return index;
  }

  first(): Uint32Array {
    return Uint32Array.from(this.#pairs, ([a]) => a);
  }

  second(): Uint32Array {
    return Uint32Array.from(this.#pairs, ([, b]) => b);
  }
}

/**
 * What a snapshot says, in one way only: its rows spelled out and sorted, alike ones of whole counts as one.
 * Two snapshots are the same when this is.
 */
export function meaning(columns: SnapshotColumns): unknown {
  const whole = new Map<string, bigint>();
  const weighted: string[] = [];
  for (let i = 0; i < columns.traceSize.length; i++) {
    const traceback = columns.traceTraceback[i]!;
    const frames: unknown[] = [];
    for (let node = columns.tracebackNode[traceback]!; node !== 0; node = columns.nodeParent[node]!) {
      const frame = columns.nodeFrame[node]!;
      frames.unshift([columns.filenames[columns.frameFilename[frame]!]!, columns.frameLineno[frame]!]);
    }
    const key = JSON.stringify([
      columns.traceDomain[i],
      columns.traceSize[i],
      columns.tracebackTotal[traceback],
      frames,
    ]);
    const count = columns.traceCount[i]!;
    if (Number.isInteger(count)) whole.set(key, (whole.get(key) ?? 0n) + BigInt(count));
    else weighted.push(`${key} ${count}`);
  }
  return {
    tracebackLimit: columns.tracebackLimit,
    rows: [...whole].map(([key, count]) => `${key} ${count}`).concat(weighted).sort(),
  };
}

const filename = fc.oneof(
  fc.constantFrom("", "a.ts", "file:///home/u/src/b.ts", "file:///home/u/src/bb.ts", "\ufeffbom", "\ud83d\ude00"),
  fc.constantFrom("\ud800", "\udc00\ud800", "x\ud83dy", "\udfff/\ude00"),
  fc.string({ unit: "binary", maxLength: 12 }),
  fc.string({ unit: "grapheme", maxLength: 12 }),
);

const lineno = fc.oneof(fc.nat(50), fc.nat(0xffff_ffff), fc.constant(0xffff_ffff));

/** Snapshots of all kinds, the empty one too. */
export const anyColumns: fc.Arbitrary<SnapshotColumns> = fc.record({
  tracebackLimit: fc.integer({ min: 0, max: 0xffff }),
  tracebacks: fc.array(
    fc.record({
      frames: fc.array(fc.tuple(filename, lineno), { maxLength: 6 }),
      total: fc.option(fc.nat(0xffff)),
    }),
    { minLength: 1, maxLength: 12 },
  ),
  rows: fc.array(
    fc.record({
      domain: fc.oneof(fc.nat(4), fc.nat(0xffff_ffff)),
      size: fc.oneof(fc.nat(100), fc.nat(2 ** 31 - 1), fc.maxSafeNat(), fc.constant(Number.MAX_SAFE_INTEGER)),
      count: fc.oneof(
        { weight: 4, arbitrary: fc.integer({ min: 1, max: 300 }) },
        fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
        fc.double({ min: 0, max: 1e280, minExcluded: true, noNaN: true }),
      ),
      traceback: fc.nat(),
    }),
    { maxLength: 300 },
  ),
}).map(({ tracebackLimit, tracebacks, rows }) =>
  columnsOf(
    rows.map(({ traceback, ...row }) => ({ ...row, ...tracebacks[traceback % tracebacks.length]! })),
    tracebackLimit,
  )
);

const text = fc.string({ unit: "grapheme", maxLength: 8 });

/** Metadata of all kinds. */
export const anyMetadata: fc.Arbitrary<SnapshotMetadata> = fc.record({
  runtime: text,
  runtimeVersion: text,
  engine: text,
  platform: text,
  pid: fc.nat(2 ** 32 - 1),
  createdAt: fc.double({ min: -1e15, max: 1e15, noNaN: true }),
  calibration: fc.array(fc.tuple(text, text), { minLength: 1, maxLength: 4 }).map((entries) => new Map(entries)),
  attribution: fc.array(fc.record({ reason: text, blocks: fc.maxSafeNat(), bytes: fc.maxSafeNat() }), {
    minLength: 1,
    maxLength: 4,
  }),
}, { requiredKeys: [] });
