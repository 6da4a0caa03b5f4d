import { DomainFilter, Filter, Frame, Snapshot, Statistic, StatisticDiff, Trace, Traceback } from "../../mod.ts";
import type { Case, FilterSpec, TracebackSpec, TraceSpec } from "./cases.ts";

/** What this library says to a case, as JSON in the form that oracle.py gives. */
export function answer(given: Case): string {
  const text = JSON.stringify(answerTo(given));
  return text.replace(/[\u007f-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function answerTo(given: Case): unknown {
  switch (given.kind) {
    case "snapshot": {
      const { keyType, cumulative, limit } = given;
      const newer = new Snapshot(given.newer.map(trace), limit);
      const older = new Snapshot(given.older.map(trace), limit);
      const filtered = newer.filterTraces(given.filters.map(filter));
      return {
        limit: newer.tracebackLimit,
        length: newer.traces.length,
        traces: [...texts(newer.traces), repr(newer.traces)],
        statistics: texts(newer.statistics(keyType, cumulative)),
        differences: texts(newer.compareTo(older, keyType, cumulative)),
        filtered: texts(filtered.traces),
        filteredStatistics: texts(filtered.statistics(keyType, cumulative)),
        filteredDifferences: texts(filtered.compareTo(older, keyType, cumulative)),
        common: Array.from(newer.traces, (one) => older.traces.includes(one)),
      };
    }
    case "order": {
      const tracebacks = given.tracebacks.map(traceback);
      const frames = tracebacks.flatMap((one) => [...one]);
      const first = tracebacks[0]!;
      return {
        frames: texts(frames.toSorted((a, b) => a.compareTo(b))),
        tracebacks: texts(tracebacks.toSorted((a, b) => a.compareTo(b))),
        equal: tracebacks.map((other) => first.equals(other)),
        less: tracebacks.map((other) => first.compareTo(other) < 0),
        contains: frames.map((frame) => first.includes(frame)),
        at: given.indices.map((index) => {
          const frame = first.at(index);
          return frame === undefined ? null : repr(frame);
        }),
        slices: given.slices.map(([start, end]) =>
          `[${first.slice(start ?? undefined, end ?? undefined).map(repr).join(", ")}]`
        ),
      };
    }
    case "format":
      return traceback(given.traceback).format(given.limit, given.mostRecentFirst);
    case "numbers": {
      const at = new Traceback([new Frame("a", 1)]);
      const [size, sizeDiff, count, countDiff] = given.values;
      const statistics = texts([
        new Statistic(at, size, count),
        new StatisticDiff(at, size, sizeDiff, count, countDiff),
      ]);
      return Number.isInteger(size) && size < 2 ** 53 ? [...statistics, String(new Trace(0, size, at))] : statistics;
    }
    case "match": {
      const inclusive = new Filter(true, given.pattern);
      return [
        inclusive.filenamePattern,
        ...given.names.map((name) => {
          const snapshot = new Snapshot([new Trace(0, 1, new Traceback([new Frame(name, 1)]))], 1);
          return snapshot.filterTraces([inclusive]).traces.length === 1;
        }),
      ];
    }
  }
}

function traceback({ frames, total }: TracebackSpec): Traceback {
  return new Traceback(frames.map(([filename, lineno]) => new Frame(filename, lineno)), total);
}

function trace([domain, size, frames, total]: TraceSpec): Trace {
  return new Trace(domain, size, traceback({ frames, total }));
}

function filter(spec: FilterSpec): Filter | DomainFilter {
  const { kind, inclusive } = spec;
  return kind === "domain" ? new DomainFilter(inclusive, spec.domain) : new Filter(inclusive, spec.pattern, spec);
}

function texts(values: Iterable<object>): [string, string][] {
  return Array.from(values, (value) => [String(value), repr(value)]);
}

/** What a console prints, which is to be Python's `repr`. */
function repr(value: object): string {
  return (value as Record<symbol, () => string>)[Symbol.for("nodejs.util.inspect.custom")]!();
}
