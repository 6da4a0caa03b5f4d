import type { KeyType } from "../../mod.ts";
import { Random } from "./random.ts";

/** A frame: file name, line. */
export type FrameSpec = readonly [filename: string, lineno: number];

/** A traceback, the oldest frame first. */
export interface TracebackSpec {
  readonly frames: readonly FrameSpec[];
  readonly total: number | null;
}

/** A trace, the oldest frame first. */
export type TraceSpec = readonly [domain: number, size: number, frames: readonly FrameSpec[], total: number | null];

/** A filter. */
export type FilterSpec =
  | { readonly kind: "domain"; readonly inclusive: boolean; readonly domain: number }
  | {
    readonly kind: "filename";
    readonly inclusive: boolean;
    readonly pattern: string;
    readonly lineno: number | null;
    readonly allFrames: boolean;
    readonly domain: number | null;
  };

/** A question that this library and CPython must answer alike. */
export type Case =
  | {
    readonly kind: "snapshot";
    readonly newer: readonly TraceSpec[];
    readonly older: readonly TraceSpec[];
    readonly limit: number;
    readonly filters: readonly FilterSpec[];
    readonly keyType: KeyType;
    readonly cumulative: boolean;
  }
  | {
    readonly kind: "order";
    readonly tracebacks: readonly TracebackSpec[];
    readonly indices: readonly number[];
    readonly slices: readonly (readonly [start: number | null, end: number | null])[];
  }
  | {
    readonly kind: "format";
    readonly traceback: TracebackSpec;
    readonly limit: number | null;
    readonly mostRecentFirst: boolean;
  }
  | { readonly kind: "numbers"; readonly values: readonly [number, number, number, number] }
  | { readonly kind: "match"; readonly pattern: string; readonly names: readonly string[] };

/** The cases of a seed; the first ones are the same however many there are. */
export function* makeCases(seed: number, count: number): Generator<Case> {
  for (let i = 0; i < count; i++) {
    // A generator of its own for each case, so that one case can be made again alone.
    const random = new Random(Math.imul(seed, 0x9e3779b1) ^ Math.imul(i, 0x85ebca6b));
    const dice = random.below(20);
    if (dice < 9) yield snapshotCase(random);
    else if (dice < 13) yield matchCase(random);
    else if (dice < 16) yield orderCase(random);
    else if (dice < 18) yield numbersCase(random);
    else yield formatCase(random);
  }
}

// Few values of each kind, so that ties and repetitions are common. U+FF5E is before U+1F600 by code point and after it
// by UTF-16 unit; the lone surrogates are before both.
const filenames = [
  ...["", "a.ts", "A.ts", "b.ts", "a.py", "a.pyc", ".pyc", "src/a.ts", "src/lib/b.ts", "[x].ts", "a-b", "!", "~", "\\"],
  ...[
    "a\nb.ts",
    "😀.ts",
    "～.ts",
    "é.ts",
    "e\u0301.ts",
    "'",
    '"',
    "'\"",
    "\ud800",
    "\udc00",
    "\ud800a",
    "\ud83d",
    "\ud83d\uff5e",
  ],
  ...["\u00a0\u00ad\u200b\u2028\u3000\ue000\uffff\u{10ffff}\u{e0001}", "\t\r\x00\x7f\x85", "<unknown>", "file:///a.ts"],
];
const linenos = [0, 1, 1, 2, 3, 10, 65535, 2 ** 31, 2 ** 32 - 1];
const domains = [0, 0, 0, 1, 2, 3, 16, 2 ** 32 - 1];
const sizes = [
  0,
  0,
  1,
  8,
  8,
  64,
  64,
  100,
  1023,
  1024,
  10239,
  10240,
  10241,
  12544,
  102399,
  102400,
  104857600,
  1234567890,
];
const sources = [
  "plain.txt",
  "ends.txt",
  "spaces.txt",
  "mark.txt",
  "astral.txt",
  "empty.txt",
  "missing.txt",
  "<anonymous>",
];

function snapshotCase(random: Random): Case {
  const pool = random.list(1, 6, () => traceback(random));
  const traces = () => {
    // One huge block at most: the sums of CPython have no limit, ours are exact up to 2^53.
    let huge = random.once(4);
    return random.list(0, random.pick([2, 6, 14]), (): TraceSpec => {
      const { frames, total } = random.once(3) ? traceback(random) : random.pick(pool);
      const size = huge ? 2 ** 50 - random.below(3) : random.once(4) ? random.below(20000) : random.pick(sizes);
      huge = false;
      return [random.pick(domains), size, frames, total];
    });
  };
  const newer = traces();
  const keyType = random.pick<KeyType>(["filename", "lineno", "traceback"]);
  return {
    kind: "snapshot",
    newer,
    // Often much the same, as two snapshots of one program are.
    older: random.once(2) ? [...newer.filter(() => !random.once(3)), ...traces().slice(0, 3)] : traces(),
    limit: 1 + random.below(65535),
    filters: random.list(0, 4, () => filter(random)),
    keyType,
    cumulative: keyType !== "traceback" && random.once(2),
  };
}

function traceback(random: Random): TracebackSpec {
  const frames = random.list(1, 5, () => frame(random));
  return { frames, total: random.once(3) ? frames.length + random.below(3) : null };
}

function frame(random: Random): FrameSpec {
  return [random.pick(filenames), random.pick(linenos)];
}

function filter(random: Random): FilterSpec {
  const inclusive = random.once(2);
  if (random.once(4)) return { kind: "domain", inclusive, domain: random.pick(domains) };
  return {
    kind: "filename",
    inclusive,
    pattern: random.once(3) ? pattern(random) : loosen(random, random.pick(filenames)),
    lineno: random.once(4) ? random.pick(linenos) : null,
    allFrames: random.once(2),
    domain: random.once(4) ? random.pick(domains) : null,
  };
}

/** A pattern that a name matches, as often as not. */
function loosen(random: Random, name: string): string {
  return Array.from(name, (character) => {
    switch (random.below(8)) {
      case 0:
        return "?";
      case 1:
        return "*";
      case 2:
        return `[${character}]`;
      case 3:
        return random.once(4) ? `[!${character}]` : "*";
      default:
        return character;
    }
  }).join("");
}

/** Anything that may mean something. */
function pattern(random: Random): string {
  const pieces = [
    "*",
    "*",
    "?",
    "[",
    "]",
    "[!",
    "!",
    "-",
    "^",
    "\\",
    "&&",
    "~~",
    "||",
    "--",
    ".",
    "a",
    "b",
    "c",
    "z",
    "/",
  ];
  return random.list(0, 9, () => {
    if (random.once(8)) return random.pick(["\n", "😀", "～", "\ud800", ".pyc", "["]);
    return random.once(4) ? brackets(random) : random.pick(pieces);
  }).join("");
}

/** A set of characters, often with ranges: forward, backward, of one, beside each other, with odd ends. */
function brackets(random: Random): string {
  const character = () =>
    random.pick(["a", "b", "c", "z", "!", "^", "[", "\\", "&", "~", "|", "-", "😀", "～", "\ud800"]);
  const part = () => random.once(2) ? `${character()}-${character()}` : character();
  return `[${random.pick(["", "", "!", "]", "-"])}${random.list(1, 3, part).join(random.pick(["", "", "-"]))}]`;
}

function matchCase(random: Random): Case {
  const characters = [
    "a",
    "b",
    "c",
    "z",
    "-",
    "!",
    "^",
    "[",
    "]",
    "\\",
    "&",
    "~",
    "|",
    ".",
    "/",
    "*",
    "\n",
    "😀",
    "～",
    "\ud800",
  ];
  const names = random.list(4, 12, () => random.list(0, 6, () => random.pick(characters)).join(""));
  return random.once(3) ? { kind: "match", pattern: loosen(random, names[0]!), names } : {
    kind: "match",
    pattern: pattern(random),
    names: [...names, ...random.list(0, 3, () => random.pick(filenames))],
  };
}

function orderCase(random: Random): Case {
  const index = () => random.below(13) - 6;
  return {
    kind: "order",
    tracebacks: random.list(1, 6, () => traceback(random)),
    indices: random.list(1, 4, index),
    slices: random.list(1, 4, () => [random.once(4) ? null : index(), random.once(4) ? null : index()] as const),
  };
}

function numbersCase(random: Random): Case {
  // Near the borders between units, on the ties of rounding, and anything else.
  const size = (): number => {
    const unit = 1024 ** random.below(5);
    switch (random.below(4)) {
      case 0:
        return random.below(20000);
      case 1:
        return Math.floor(random.pick([1, 10, 99.95, 100, 1024, 10240]) * unit) + random.below(5) - 2;
      case 2:
        return (random.below(44000) / 4 + 0.25) * unit;
      default:
        return random.below(2 ** 32) / random.pick([1, 3, 7, 1000]) * random.pick([1, 2 ** 10, 2 ** 20]);
    }
  };
  const signed = (value: number) => random.once(2) && value !== 0 ? -value : value;
  const count = () => random.pick([0, 1, 2, 3, 7, 1000, 4096, random.below(2 ** 32), random.below(1000) / 8]);
  // CPython's own numbers are whole; -0 is none of them.
  return { kind: "numbers", values: [Math.max(0, size()), signed(size()), count(), signed(count())] };
}

function formatCase(random: Random): Case {
  return {
    kind: "format",
    traceback: { frames: random.list(1, 5, () => [random.pick(sources), random.below(8)] as const), total: null },
    limit: random.once(4) ? null : random.below(13) - 6,
    mostRecentFirst: random.once(2),
  };
}
