import { test } from "node:test";
import { inspect } from "node:util";
import { assert, assertEquals, assertFalse, assertThrows } from "@std/assert";
import {
  Domain,
  DomainFilter,
  Filter,
  Frame,
  NotTracingError,
  SnapshotFormatError,
  Statistic,
  StatisticDiff,
  Trace,
  Traceback,
  TracemallocError,
  UnsupportedError,
} from "../../mod.ts";
import { domainName } from "../../lib/model/domain.ts";
import { snapshot, trace, traceback } from "./make.ts";

test("Frame compares by file name, then line", () => {
  const frame = new Frame("a.ts", 3);
  assert(frame.equals(new Frame("a.ts", 3)));
  assertFalse(frame.equals(new Frame("a.ts", 4)));
  assertFalse(frame.equals(new Frame("b.ts", 3)));
  assertFalse(frame.equals({ filename: "a.ts", lineno: 3 }));
  assert(frame.compareTo(new Frame("a.ts", 20)) < 0);
  assert(frame.compareTo(new Frame("Z.ts", 20)) > 0);
  assertEquals(frame.compareTo(new Frame("a.ts", 3)), 0);
});

test("file names are ordered by code point", () => {
  const ordered = [
    "",
    "a",
    "aa",
    "b",
    "\ud7ff",
    "\ud83d",
    "\ud83da",
    "\ud83d\ue000",
    "\ude00",
    "\ue000",
    "\uff5e",
    "😀",
    "😀a",
    "😁",
  ];
  for (const [i, a] of ordered.entries()) {
    for (const [j, b] of ordered.entries()) {
      assertEquals(Math.sign(new Frame(a, 0).compareTo(new Frame(b, 0))), Math.sign(i - j), `${i} and ${j}`);
    }
  }
});

test("Traceback gives its frames from the oldest to the most recent", () => {
  const one = traceback("a.ts:1", "b.ts:2", "c.ts:3");
  assertEquals(one.length, 3);
  assertEquals(String(one), "a.ts:1");
  assertEquals(String(one.at(0)), "a.ts:1");
  assertEquals(String(one.at(-1)), "c.ts:3");
  assertEquals(one.at(3), undefined);
  assertEquals(one.at(-4), undefined);
  assertEquals([...one].map(String), ["a.ts:1", "b.ts:2", "c.ts:3"]);
  assertEquals(one.slice(1).map(String), ["b.ts:2", "c.ts:3"]);
  assertEquals(one.slice(-3, -1).map(String), ["a.ts:1", "b.ts:2"]);
  assert(one.includes(new Frame("b.ts", 2)));
  assertFalse(one.includes(new Frame("b.ts", 3)));
});

test("Traceback compares by frames, and not by totalNframe", () => {
  const frames = [new Frame("a.ts", 1)];
  assert(new Traceback(frames, 7).equals(new Traceback(frames)));
  assertEquals(new Traceback(frames, 7).totalNframe, 7);
  assertEquals(new Traceback(frames, 0).totalNframe, 0);
  assertEquals(new Traceback(frames).totalNframe, null);
  assertFalse(traceback("a.ts:1").equals(traceback("a.ts:1", "a.ts:1")));
  assertFalse(traceback("a.ts:1").equals(frames[0]));
  assertFalse(traceback("a.ts:1").equals(frames));
  assert(traceback("a.ts:1").compareTo(traceback("a.ts:1", "a.ts:1")) < 0);
  assert(traceback("b.ts:1").compareTo(traceback("a.ts:1", "a.ts:1")) > 0);
  assertEquals(traceback().compareTo(traceback()), 0);
});

test("a Traceback does not change with what it was made from", () => {
  const frames = [new Frame("a.ts", 1)];
  const one = new Traceback(frames);
  frames.push(new Frame("b.ts", 1));
  one.slice().push(new Frame("c.ts", 1));
  assertEquals(one.length, 1);
});

test("an empty traceback is shown as unknown", () => {
  assertEquals(String(traceback()), "<unknown>:0");
  assertEquals(String(trace(1)), "<unknown>:0: 1 B");
  assertEquals(traceback().format(), []);
});

test("Traceback.format cuts as CPython does", () => {
  const one = traceback("a.ts:1", "b.ts:2", "c.ts:3");
  const names = (lines: string[]) => lines.map((line) => /"(.).ts", line \d$/.exec(line)![1]).join("");
  assertEquals(one.format(1), ['  File "c.ts", line 3']);
  assertEquals(names(one.format()), "abc");
  assertEquals(names(one.format(null)), "abc");
  assertEquals(names(one.format(2)), "bc");
  assertEquals(names(one.format(9)), "abc");
  assertEquals(names(one.format(0)), "");
  assertEquals(names(one.format(-1)), "ab");
  assertEquals(names(one.format(-3)), "");
  assertEquals(names(one.format(2, true)), "cb");
  assertEquals(names(one.format(undefined, true)), "cba");
});

test("Trace compares by all that it has", () => {
  const one = new Trace(1, 2, traceback("a.ts:1"));
  assert(one.equals(new Trace(1, 2, traceback("a.ts:1"))));
  assertFalse(one.equals(new Trace(0, 2, traceback("a.ts:1"))));
  assertFalse(one.equals(new Trace(1, 3, traceback("a.ts:1"))));
  assertFalse(one.equals(new Trace(1, 2, traceback("a.ts:2"))));
  assertFalse(one.equals(new Trace(1, 2, new Traceback([new Frame("a.ts", 1)], 1))));
  assertFalse(one.equals(one.traceback));
});

test("Statistic and StatisticDiff compare by all that they have", () => {
  const at = traceback("a.ts:1");
  const statistic = new Statistic(at, 1, 2);
  assert(statistic.equals(new Statistic(traceback("a.ts:1"), 1, 2)));
  assertFalse(statistic.equals(new Statistic(traceback("a.ts:2"), 1, 2)));
  assertFalse(statistic.equals(new Statistic(at, 2, 2)));
  assertFalse(statistic.equals(new Statistic(at, 1, 1)));
  const diff = new StatisticDiff(at, 1, 2, 3, 4);
  assertFalse(statistic.equals(diff));
  assertFalse(diff.equals(statistic));
  assert(diff.equals(new StatisticDiff(traceback("a.ts:1"), 1, 2, 3, 4)));
  assertFalse(diff.equals(new StatisticDiff(traceback("a.ts:2"), 1, 2, 3, 4)));
  assertFalse(diff.equals(new StatisticDiff(at, 0, 2, 3, 4)));
  assertFalse(diff.equals(new StatisticDiff(at, 1, 0, 3, 4)));
  assertFalse(diff.equals(new StatisticDiff(at, 1, 2, 0, 4)));
  assertFalse(diff.equals(new StatisticDiff(at, 1, 2, 3, 0)));
});

test("texts are those of CPython's documentation", () => {
  const at = traceback("a.ts:3");
  assertEquals(String(new Statistic(at, 4971520, 39328)), "a.ts:3: size=4855 KiB, count=39328, average=126 B");
  assertEquals(String(new Statistic(at, 0, 0)), "a.ts:3: size=0 B, count=0");
  assertEquals(
    String(new StatisticDiff(at, 8369152, 4534272, 71332, 39369)),
    "a.ts:3: size=8173 KiB (+4428 KiB), count=71332 (+39369), average=117 B",
  );
  assertEquals(String(new StatisticDiff(at, 0, -1536, 0, -2)), "a.ts:3: size=0 B (-1536 B), count=0 (-2)");
  assertEquals(String(new StatisticDiff(at, 5, 0, 1, 0)), "a.ts:3: size=5 B (+0 B), count=1 (+0), average=5 B");
  // Estimates of sampled blocks need not be whole, and beyond all bounds there are no exponents.
  assertEquals(String(new Statistic(at, 12544.5, 1.75)), "a.ts:3: size=12.3 KiB, count=1, average=7168 B");
  assertEquals(
    String(new Statistic(at, 2 ** 120, 1e22)),
    "a.ts:3: size=1208925819614629174706176 TiB, count=10000000000000000000000, average=121 TiB",
  );
});

test("consoles show what repr shows in Python", () => {
  const at = traceback("a.ts:3", "it's.ts:0");
  const shown: [object, string][] = [
    [at.at(0)!, "<Frame filename='a.ts' lineno=3>"],
    [
      new Frame("'\"\\\n\u00e9\u200b\u{1f600}\u{e0001}\x7f", 0),
      `<Frame filename='\\'"\\\\\\né\\u200b😀\\U000e0001\\x7f' lineno=0>`,
    ],
    [at, `<Traceback (<Frame filename='a.ts' lineno=3>, <Frame filename="it's.ts" lineno=0>)>`],
    [new Traceback([], 7), "<Traceback () total_nframe=7>"],
    [traceback("a:1"), "<Traceback (<Frame filename='a' lineno=1>,)>"],
    [trace(20000, "a:1"), "<Trace domain=0 size=19.5 KiB, traceback=<Traceback (<Frame filename='a' lineno=1>,)>>"],
    [new Statistic(traceback(), 5, 2), "<Statistic traceback=<Traceback ()> size=5 count=2>"],
    [new StatisticDiff(traceback(), 5, -3, 2, 1), "<StatisticDiff traceback=<Traceback ()> size=5 (-3) count=2 (+1)>"],
    [snapshot(trace(1), trace(2)).traces, "<Traces len=2>"],
    [snapshot(trace(1)), "<Snapshot traces=<Traces len=1> traceback_limit=10>"],
    [
      new Filter(true, "*.pyc", { lineno: 0, domain: 3 }),
      "<Filter inclusive=True filename_pattern='*.py' lineno=0 all_frames=False domain=3>",
    ],
    [
      new Filter(false, "a", { allFrames: true }),
      "<Filter inclusive=False filename_pattern='a' lineno=None all_frames=True domain=None>",
    ],
    [new DomainFilter(false, 16), "<DomainFilter inclusive=False domain=16>"],
  ];
  for (const [value, text] of shown) {
    assertEquals(inspect(value), text);
    assertEquals(inspect([value]).includes(text), true, text);
    const runtime = globalThis as {
      Deno?: { inspect(value: unknown): string };
      Bun?: { inspect(value: unknown): string };
    };
    for (const { inspect } of [runtime.Deno, runtime.Bun].filter((one) => one !== undefined)) {
      assertEquals(inspect(value), text);
    }
  }
});

test("what consoles ask for can be replaced, as a method can", () => {
  for (const name of ["Deno.customInspect", "nodejs.util.inspect.custom"]) {
    const { value, ...rest } = Object.getOwnPropertyDescriptor(Frame.prototype, Symbol.for(name))!;
    assertEquals([typeof value, rest], ["function", { configurable: true, enumerable: false, writable: true }]);
  }
});

test("what is made wrongly is refused with the name of the argument", () => {
  const at = traceback("a.ts:1");
  // deno-lint-ignore no-explicit-any
  const wrong = (value: unknown): any => value;
  const types: [() => unknown, string][] = [
    [() => new Frame(wrong(1), 1), "filename must be a string, not number"],
    [() => new Frame("a", wrong("1")), "lineno must be a number, not string"],
    [() => new Frame("a", wrong(null)), "lineno must be a number, not null"],
    [() => new Traceback(wrong(["a"])), "frames must be instances of Frame, not string"],
    [() => new Traceback([], wrong("1")), "totalNframe must be a number, not string"],
    [() => new Trace(wrong("0"), 1, at), "domain must be a number, not string"],
    [() => new Trace(0, wrong(1n), at), "size must be a number, not bigint"],
    [() => new Trace(0, 1, wrong([])), "traceback must be a Traceback, not Array"],
    [() => new Statistic(wrong(at.at(0)), 1, 1), "traceback must be a Traceback, not Frame"],
    [() => new StatisticDiff(wrong(Object.create(null)), 1, 1, 1, 1), "traceback must be a Traceback, not object"],
    [() => new Statistic(at, wrong("1"), 1), "size must be a number, not string"],
    [() => new Statistic(at, 1, wrong(undefined)), "count must be a number, not undefined"],
    [() => new Filter(wrong("yes"), "a"), "inclusive must be a boolean, not string"],
    [() => new Filter(true, wrong(/a/)), "filenamePattern must be a string, not RegExp"],
    [() => new Filter(true, "a", { allFrames: wrong(1) }), "allFrames must be a boolean, not number"],
    [() => new DomainFilter(wrong(0), 0), "inclusive must be a boolean, not number"],
  ];
  for (const [make, message] of types) assertThrows(make, TypeError, message);
  const ranges: [() => unknown, string][] = [
    [() => new Frame("a", -1), "lineno must be a whole number from 0 to 4294967295, not -1"],
    [() => new Frame("a", 2 ** 32), "lineno must be a whole number from 0 to 4294967295, not 4294967296"],
    [() => new Frame("a", 1.5), "lineno must be a whole number from 0 to 4294967295, not 1.5"],
    [() => new Traceback([], -1), "totalNframe must be a whole number from 0 to 4294967294, not -1"],
    [() => new Traceback([], 2 ** 32 - 1), "totalNframe must be a whole number from 0 to 4294967294, not 4294967295"],
    [() => new Trace(-1, 1, at), "domain must be a whole number from 0 to 4294967295, not -1"],
    [() => new Trace(0, NaN, at), "size must be a whole number from 0 to 9007199254740991, not NaN"],
    [
      () => new Trace(0, 2 ** 53, at),
      "size must be a whole number from 0 to 9007199254740991, not 9007199254740992",
    ],
    [() => new Statistic(at, Infinity, 1), "size must be finite, not Infinity"],
    [() => new Statistic(at, 1, NaN), "count must be finite, not NaN"],
    [() => new StatisticDiff(at, NaN, 1, 1, 1), "size must be finite"],
    [() => new StatisticDiff(at, 1, -Infinity, 1, 1), "sizeDiff must be finite"],
    [() => new StatisticDiff(at, 1, 1, NaN, 1), "count must be finite"],
    [() => new StatisticDiff(at, 1, 1, 1, NaN), "countDiff must be finite"],
    [() => new Filter(true, "a", { lineno: -1 }), "lineno must be a whole number"],
    [() => new Filter(true, "a", { domain: -1 }), "domain must be a whole number"],
    [() => new DomainFilter(true, 0.5), "domain must be a whole number"],
  ];
  for (const [make, message] of ranges) assertThrows(make, RangeError, message);
  // The borders themselves are fine.
  new Trace(2 ** 32 - 1, 2 ** 53 - 1, new Traceback([new Frame("", 2 ** 32 - 1)], 2 ** 32 - 2));
});

test("errors say what they are", () => {
  const cause = new Error("cause");
  const errors: [TracemallocError, string, string][] = [
    [new TracemallocError("m", "ENOENT", { cause }), "TracemallocError", "ENOENT"],
    [new NotTracingError("m", { cause }), "NotTracingError", "NOT_TRACING"],
    [new SnapshotFormatError("m", 8, { cause }), "SnapshotFormatError", "SNAPSHOT_FORMAT"],
    [new UnsupportedError("m", { cause }), "UnsupportedError", "UNSUPPORTED"],
  ];
  for (const [error, name, code] of errors) {
    assert(error instanceof TracemallocError && error instanceof Error);
    assertEquals([error.name, error.code, error.message, error.cause], [name, code, "m", cause]);
    assertEquals(String(error), `${name}: m`);
  }
  assertEquals((errors[2]![0] as SnapshotFormatError).offset, 8);
});

test("the domains have the numbers of the documentation", () => {
  assertEquals({ ...Domain }, { "native": 0, "js-heap": 1, "array-buffer": 2, "mmap": 3 });
  assert(Object.isFrozen(Domain));
  assertEquals([0, 1, 2, 3, 4, 16].map(domainName), [
    "native",
    "js-heap",
    "array-buffer",
    "mmap",
    "domain 4",
    "domain 16",
  ]);
});
