/**
 * What must be true of every snapshot, filter and difference. Nothing here needs a runtime: laws_test.ts and
 * browser_test.ts run it.
 */
import fc from "fast-check";
import { assertEquals } from "@std/assert";
import { aggregate } from "../../lib/aggregate/aggregate.ts";
import { compareFiles } from "../../lib/aggregate/compare_files.ts";
import type { DomainFilter } from "../../lib/model/domain_filter.ts";
import type { Filter } from "../../lib/model/filter.ts";
import type { KeyType } from "../../lib/model/key_type.ts";
import { Snapshot } from "../../lib/model/snapshot.ts";
import type { StatisticDiff } from "../../lib/model/statistic_diff.ts";
import type { Trace } from "../../lib/model/trace.ts";
import { filter, filters, snapshot, traces, weighted } from "./arbitraries.ts";

/** One law. */
export interface Law {
  readonly name: string;
  /** Tests it with many random values; a failure says the seed and the smallest values that break it. */
  readonly check: () => Promise<void>;
}

/** All of them. */
export const laws: Law[] = [];

const groupings: fc.Arbitrary<[keyType: KeyType, cumulative: boolean]> = fc.constantFrom(
  ["filename", false],
  ["lineno", false],
  ["traceback", false],
  ["filename", true],
  ["lineno", true],
);

function law<Values extends [unknown, ...unknown[]]>(
  name: string,
  arbitraries: { [I in keyof Values]: fc.Arbitrary<Values[I]> },
  check: (...values: Values) => void | Promise<void>,
): void {
  const property = fc.asyncProperty(...arbitraries, async (...values: Values) => await check(...values));
  laws.push({ name, check: () => fc.assert(property, { numRuns: 500 }) });
}

/** A traceback as a text: the key of a group. */
function key({ traceback }: { traceback: Iterable<unknown> }): string {
  return JSON.stringify(Array.from(traceback, String));
}

/** Traces as texts, in an order of their own. */
function bag(traces: Iterable<Trace>): string[] {
  return Array.from(traces, (trace) => `${trace.domain} ${trace.size} ${trace.traceback.totalNframe} ${key(trace)}`)
    .sort();
}

function changes(differences: readonly StatisticDiff[]): Map<string, [size: number, count: number]> {
  return new Map(differences.map((diff) => [key(diff), [diff.sizeDiff, diff.countDiff]]));
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

function totalSize({ traces }: Snapshot): number {
  return sum(Array.from(traces, ({ size }) => size));
}

law<[Snapshot, Snapshot, [KeyType, boolean]]>(
  "differences change their sign when the snapshots change places",
  [snapshot, snapshot, groupings],
  (a, b, grouping) => {
    const there = changes(a.compareTo(b, ...grouping));
    const back = changes(b.compareTo(a, ...grouping));
    assertEquals(there.size, back.size);
    for (const [key, [size, count]] of there) assertEquals(back.get(key), [0 - size, 0 - count]);
  },
);

law<[Snapshot, [KeyType, boolean]]>("a snapshot does not differ from itself", [snapshot, groupings], (a, grouping) => {
  const differences = a.compareTo(a, ...grouping);
  assertEquals(differences.every(({ sizeDiff, countDiff }) => sizeDiff === 0 && countDiff === 0), true);
  assertEquals(
    differences.map((diff) => [key(diff), diff.size, diff.count]),
    a.statistics(...grouping).map((statistic) => [key(statistic), statistic.size, statistic.count]),
  );
});

law<[Snapshot, Snapshot, Snapshot, [KeyType, boolean]]>(
  "differences add up: from a to b and from b to c is from a to c",
  [snapshot, snapshot, snapshot, groupings],
  (a, b, c, grouping) => {
    const steps = [changes(b.compareTo(a, ...grouping)), changes(c.compareTo(b, ...grouping))];
    const whole = changes(c.compareTo(a, ...grouping));
    for (const key of new Set([...whole.keys(), ...steps.flatMap((step) => [...step.keys()])])) {
      const [size, count] = whole.get(key) ?? [0, 0];
      assertEquals(sum(steps.map((step) => step.get(key)?.[0] ?? 0)), size, key);
      assertEquals(sum(steps.map((step) => step.get(key)?.[1] ?? 0)), count, key);
    }
  },
);

law<[Snapshot, Snapshot, KeyType]>(
  "differences of sizes add up to the difference of the totals",
  [snapshot, snapshot, fc.constantFrom("filename", "lineno", "traceback")],
  (a, b, keyType) => {
    const differences = a.compareTo(b, keyType);
    assertEquals(sum(differences.map(({ sizeDiff }) => sizeDiff)), totalSize(a) - totalSize(b));
    assertEquals(sum(differences.map(({ countDiff }) => countDiff)), a.traces.length - b.traces.length);
    assertEquals(sum(differences.map(({ size }) => size)), totalSize(a));
  },
);

law<[Snapshot, KeyType]>(
  "every trace is in one group",
  [snapshot, fc.constantFrom("filename", "lineno", "traceback")],
  (a, keyType) => {
    const statistics = a.statistics(keyType);
    assertEquals(sum(statistics.map(({ size }) => size)), totalSize(a));
    assertEquals(sum(statistics.map(({ count }) => count)), a.traces.length);
    assertEquals(new Set(statistics.map(key)).size, statistics.length);
  },
);

law<[Snapshot, Snapshot, [KeyType, boolean]]>(
  "results are in order",
  [snapshot, snapshot, groupings],
  (a, b, grouping) => {
    const inOrder = (keys: number[][], tracebacks: { compareTo(other: unknown): number }[]) => {
      for (let i = 1; i < keys.length; i++) {
        const at = keys[i]!.findIndex((value, j) => value !== keys[i - 1]![j]);
        const order = at >= 0 ? keys[i - 1]![at]! - keys[i]![at]! : tracebacks[i - 1]!.compareTo(tracebacks[i]!);
        assertEquals(order > 0, true, `${i - 1} before ${i}`);
      }
    };
    const statistics = a.statistics(...grouping);
    inOrder(statistics.map(({ size, count }) => [size, count]), statistics.map(({ traceback }) => traceback));
    const differences = a.compareTo(b, ...grouping);
    inOrder(
      differences.map(({ size, sizeDiff, count, countDiff }) => [Math.abs(sizeDiff), size, Math.abs(countDiff), count]),
      differences.map(({ traceback }) => traceback),
    );
  },
);

law("an inclusive filter and its exclusive twin part the traces", [snapshot, filter], (a, make) => {
  const kept = a.filterTraces([make(true)]).traces;
  const dropped = a.filterTraces([make(false)]).traces;
  assertEquals(bag([...kept, ...dropped]), bag(a.traces));
});

law("filtering twice is filtering once", [snapshot, filters], (a, filters) => {
  const once = a.filterTraces(filters);
  assertEquals(bag(once.filterTraces(filters).traces), bag(once.traces));
});

law("filters keep the order of traces, and what they keep is there", [snapshot, filters], (a, filters) => {
  const all = Array.from(a.traces, String);
  let at = 0;
  for (const trace of a.filterTraces(filters).traces) {
    assertEquals(a.traces.includes(trace), true);
    at = all.indexOf(String(trace), at) + 1;
    assertEquals(at > 0, true);
  }
});

law<[Snapshot, "filename" | "lineno"]>(
  "cumulative groups are no smaller than plain ones, and no other",
  [snapshot, fc.constantFrom("filename", "lineno")],
  (a, keyType) => {
    const cumulative = new Map(a.statistics(keyType, true).map((statistic) => [key(statistic), statistic]));
    for (const statistic of a.statistics(keyType)) {
      const bound = cumulative.get(key(statistic))!;
      assertEquals(bound.size >= statistic.size && bound.count >= statistic.count, true, key(statistic));
    }
    assertEquals(
      sum([...cumulative.values()].map(({ count }) => count)),
      sum(Array.from(a.traces, ({ traceback }) => traceback.length || 1)),
    );
  },
);

law("dump then load is the identity", [weighted], async ({ rows, expanded }) => {
  const loaded = await Snapshot.fromStream(rows.toStream());
  assertEquals(loaded.tracebackLimit, rows.tracebackLimit);
  assertEquals(loaded.traces.length, expanded.length);
  assertEquals(bag(loaded.traces), bag(expanded));
});

law<[Trace[], Snapshot, [KeyType, boolean], number]>(
  "the order of traces does not matter",
  [traces, snapshot, groupings, fc.nat()],
  (some, old, grouping, by) => {
    const at = some.length === 0 ? 0 : by % some.length;
    const other = [...some.slice(at), ...some.slice(0, at)].reverse();
    const results = [some, other].map((traces) => {
      const snapshot = new Snapshot(traces, 4);
      return [...snapshot.statistics(...grouping), ...snapshot.compareTo(old, ...grouping)].map((one) =>
        `${one} ${key(one)}`
      );
    });
    assertEquals(results[0], results[1]);
  },
);

law<[{ rows: Snapshot; expanded: Trace[] }, Snapshot, [KeyType, boolean], (Filter | DomainFilter)[]]>(
  "rows that stand for several blocks equal these blocks",
  [weighted, snapshot, groupings, filters],
  ({ rows, expanded }, old, grouping, filters) => {
    const blocks = new Snapshot(expanded, 4);
    const results = [rows, blocks].map((snapshot) => {
      const filtered = snapshot.filterTraces(filters);
      return [
        Array.from(snapshot.traces, String),
        Array.from({ length: snapshot.traces.length + 1 }, (_, i) => String(snapshot.traces.at(i))),
        Array.from(filtered.traces, String),
        ...[snapshot, filtered].flatMap((one) => [one.statistics(...grouping), one.compareTo(old, ...grouping)])
          .map((values) => values.map((one) => `${one} ${key(one)}`)),
      ];
    });
    assertEquals(results[0], results[1]);
  },
);

law<[Snapshot, Snapshot, [KeyType, boolean], (Filter | DomainFilter)[]]>(
  "a stream gives what the whole snapshot gives",
  [snapshot, snapshot, groupings, filters],
  async (newer, older, [keyType, cumulative], filters) => {
    const options = { keyType, cumulative, filters };
    const [a, b] = [newer.filterTraces(filters), older.filterTraces(filters)] as const;
    const shown = (values: Iterable<{ traceback: Iterable<unknown> }>) =>
      Array.from(values, (one) => `${one} ${key(one)}`);
    assertEquals(shown(await aggregate(newer.toStream(), options)), shown(a.statistics(keyType, cumulative)));
    assertEquals(
      shown(await compareFiles(newer.toStream(), older.toStream(), options)),
      shown(a.compareTo(b, keyType, cumulative)),
    );
  },
);
