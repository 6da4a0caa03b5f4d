/**
 * Are the records of V8's samples what they were taken for? Functions of our own make objects, first in the interpreter and
 * then in compiled code: each object must have its record, of the right size and from the right place. And V8's own profile
 * must have as many objects, of the same sizes, for each of these functions.
 */
import type inspector from "node:inspector";
import vm from "node:vm";
import { Result, Tier } from "../tracer/abi.ts";
import type { Position, V8Shim } from "./backend.ts";
import { type Profile, type ProfileNode, type Sizes, sizesByNode } from "./v8_functions.ts";
import { pause } from "./waiting.ts";
import { closeSession, holdSession } from "./v8_session.ts";

/** What stands before the place that V8 has for the object that is made there. */
const here = "/*here*/";

const properties = 23, fields = 11;

/** Behind its map, properties and elements an object has so many words inside; V8 may put a memento of two more behind. */
const sizesOf = (words: number) => [24 + 8 * words, 40 + 8 * words];

interface Kind {
  readonly name: string;
  readonly made: string;
  /** Bytes that the object can have; `undefined`: as many as others of its kind. */
  readonly sizes: readonly number[] | undefined;
}

/** Each is made by a function of its own. */
const kinds: readonly Kind[] = [
  { name: "literal", made: `${here}return { ${list(properties, (i) => `p${i}: a`)} }`, sizes: sizesOf(properties) },
  { name: "array", made: `${here}return []`, sizes: sizesOf(1) },
  { name: "closure", made: `${here}return () => a`, sizes: undefined },
  { name: "instance", made: `return ${here}new Made(a)`, sizes: sizesOf(fields) },
];

function list(count: number, item: (i: number) => string): string {
  return Array.from({ length: count }, (_, i) => item(i)).join(", ");
}

/** A call before the place leaves its own; a loop makes the function hot. The first instances of a class are larger. */
const text = `(function (touch) {
class Made { constructor(a) { ${list(fields, (i) => `this.f${i} = a`)}; } }
for (let i = 0; i < 20; i++) new Made(i);
${
  kinds.map(({ name, made }) =>
    `function ${name}(a, turns) {
  for (let i = 0; i < turns; i++) a = a + i | 0;
  a = touch(a) | 0;
    ${made};
}`
  ).join("\n")
}
return [${kinds.map(({ name }) => name).join(", ")}];
})`;

type Maker = (a: number, turns: number) => object;

const file = "tracemalloc-calibrate-heap.js";

/** No other script has so many. */
const firstLine = 1_000_001;

/** Where each of the functions makes objects. */
const places = kinds.map(({ name }): Position => {
  const at = text.indexOf(here, text.indexOf(`function ${name}(`)) + here.length;
  return { line: firstLine + text.slice(0, at).split("\n").length - 1, column: at - text.lastIndexOf("\n", at) };
});

/**
 * How often each function is called, and the turns of its loop: while it is interpreted, so that V8's baseline compiler takes
 * it, and so that the others do; the last until that is seen, at the most.
 */
const cold = { calls: 3, turns: 0 }, warm = { calls: 60, turns: 20 }, hot = { calls: 60, turns: 2000 };

/** Of the last, between two looks; from so many on, V8's compilers, which have threads of their own, are waited for. */
const callsALook = 4, callsWithoutWaiting = 8;

/** What is known of the records. */
export interface Verification {
  /** Why they are not to be trusted; `undefined`: they are. */
  readonly refusal: string | undefined;
  /** Bits of `Tier`: code in which objects of all kinds had the right place. */
  readonly tiers: number;
}

/**
 * Verifies the records. `apart` does work while V8 samples every object of this thread and the shim keeps the records apart.
 * `compared` is called when V8 has given its profile, on Deno in a turn of the event loop. Where nothing is known, for another
 * thread has cleared the traces meanwhile or has stopped, it is `undefined`.
 */
export function verifyRecords(
  shim: V8Shim,
  session: inspector.Session,
  apart: (work: () => void) => void,
  compared: (verification: Verification | undefined) => void,
): Verification | undefined {
  const objects = new Objects(shim), before = new Records(shim), after = new Records(shim);
  let profile: Profile | undefined, answered = false, ready = false;
  const compare = () => {
    if (!answered || !ready) return;
    const complete = profile !== undefined && before.result >= 0 && after.result >= 0;
    compared(complete ? { refusal: compareProfile(profile!, before, after), tiers: 0 } : undefined);
  };
  apart(() => {
    objects.make(before);
    // What lives when V8 makes its profile lived before, and what lives after does then.
    before.take();
    // The answer is waited for, also when tracing stops before.
    holdSession();
    session.post("HeapProfiler.getSamplingProfile", (_error, result) => {
      closeSession();
      answered = true;
      profile = result?.profile as unknown as Profile | undefined;
      shim.mute(true);
      try {
        compare();
      } finally {
        shim.mute(false);
      }
    });
    after.take();
  });
  ready = true;
  compare();
  if (after.result >= 0) return objects.judge(after);
  return after.result === Result.state ? undefined : { refusal: "V8 has made more of them than were seen", tiers: 0 };
}

/** Words of a record, as tracemalloc_js_heap_verified() gives it; and as many records as the shim keeps. */
const words = 5, mostRecords = 32_768;

/** The records so far. They are to be taken while all that this thread allocates makes more: there is room from the start. */
class Records {
  readonly #shim: V8Shim;
  readonly #words = new Uint32Array(words * mostRecords);
  /** How many, or the number of a result. */
  result = 0;

  constructor(shim: V8Shim) {
    this.#shim = shim;
  }

  take(): void {
    this.result = this.#shim.jsHeapVerified(this.#words);
  }

  lives = (i: number) => this.#words[words * i]! !== 0;
  size = (i: number) => this.#words[words * i + 1]!;
  line = (i: number) => this.#words[words * i + 2]!;
  column = (i: number) => this.#words[words * i + 3]!;
  tiers = (i: number) => this.#words[words * i + 4]!;
}

/** So many were made on this thread. */
let tests = 0;

const optimised = Tier.maglev | Tier.turbofan;

class Objects {
  readonly #shim: V8Shim;
  readonly #makers: readonly Maker[];
  /** By object, the number of its record, or of a result. */
  readonly #records = new Int32Array(kinds.length * (cold.calls + warm.calls + hot.calls));
  #count = 0;
  /** The last live until V8 has made its profile, which a program has to parse then: the shorter the better. */
  readonly #kept = new Array<object>(20 * kinds.length);

  constructor(shim: V8Shim) {
    this.#shim = shim;
    // V8 compiles a text once: functions of one that was there before may be compiled already.
    const fresh = `${text} // ${++tests}`;
    this.#makers = vm.runInThisContext(fresh, { filename: file, lineOffset: firstLine - 1 })((x: number) => x);
  }

  make(records: Records): void {
    for (const { calls, turns } of [cold, warm]) for (let i = 0; i < calls; i++) this.#call(turns);
    for (let i = 0; i < hot.calls && !this.#areOptimised(records); i += callsALook) {
      if (i >= callsWithoutWaiting) pause(1);
      for (let k = 0; k < callsALook; k++) this.#call(hot.turns);
    }
  }

  #call(turns: number): void {
    for (let kind = 0; kind < kinds.length; kind++) {
      const object = this.#makers[kind]!(kind, turns);
      this.#kept[this.#count % this.#kept.length] = object;
      this.#records[this.#count++] = this.#shim.jsHeapObjects.verify(object);
    }
  }

  /** Was an object of each kind made by such code? Maglev's may not say so. */
  #areOptimised(records: Records): boolean {
    records.take();
    for (let kind = 0; kind < kinds.length; kind++) {
      let seen = false;
      for (let i = kind; i < this.#count && !seen; i += kinds.length) {
        const record = this.#records[i]!;
        seen = record >= 0 && record < records.result &&
          (records.line(record) === 0 || (records.tiers(record) & optimised) !== 0);
      }
      if (!seen) return false;
    }
    return true;
  }

  judge(records: Records): Verification {
    let all = -1;
    for (const [k, kind] of kinds.entries()) {
      const place = places[k]!, sizes = new Set(kind.sizes);
      let tiers = 0;
      for (let i = k; i < this.#count; i += kinds.length) {
        const record = this.#records[i]!;
        if (record < 0) return wrong(kind, "has no record of its own");
        const size = records.size(record), line = records.line(record), column = records.column(record);
        if (!kind.sizes && sizes.size === 0) sizes.add(size);
        if (!sizes.has(size)) return wrong(kind, `has ${size} bytes, not ${[...sizes].join(" or ")}`);
        if (line === 0) continue;
        if (line !== place.line || column !== place.column) {
          return wrong(kind, `is of line ${line}, column ${column}, not ${place.line}, ${place.column}`);
        }
        tiers |= records.tiers(record);
      }
      all &= tiers;
    }
    return { refusal: undefined, tiers: all };
  }
}

function wrong({ name }: Kind, what: string): Verification {
  return { refusal: `one of the test's ${name}s ${what}`, tiers: 0 };
}

/**
 * What is wrong with the records, by V8's profile; `undefined`: nothing. Each one of a place is there as of the function
 * around it, and of the same sizes there are no more than there are records.
 */
function compareProfile(profile: Profile, before: Records, after: Records): string | undefined {
  const theirs = profiledSizes(profile), all: Sizes = new Map(), ours = kinds.map((): Sizes => new Map());
  for (let i = 0; i < before.result; i++) if (before.lives(i)) add(all, before.size(i), 1);
  for (let i = 0; i < after.result; i++) {
    const kind = places.findIndex(({ line, column }) => line === after.line(i) && column === after.column(i));
    if (kind >= 0 && after.lives(i)) add(ours[kind]!, after.size(i), 1);
  }
  for (const [k, { name }] of kinds.entries()) {
    for (const [size, least] of ours[k]!) {
      const count = theirs[k]!.get(size) ?? 0, most = all.get(size) ?? 0;
      if (count < least || count > most) {
        return `V8's own profile has ${count} objects of ${size} bytes by a test's function, "${name}", not ${least} to ${most}`;
      }
    }
  }
  return undefined;
}

/** By kind: how many objects of each size there are by V8's profile. */
function profiledSizes({ head, samples }: Profile): Sizes[] {
  const byNode = sizesByNode(samples), result = kinds.map((): Sizes => new Map());
  const visit = ({ id, callFrame, children }: ProfileNode) => {
    const kind = callFrame.url === file ? kinds.findIndex(({ name }) => name === callFrame.functionName) : -1;
    if (kind >= 0) { for (const [size, count] of byNode.get(id) ?? []) add(result[kind]!, size, count); }
    children.forEach(visit);
  };
  visit(head);
  return result;
}

function add(sizes: Sizes, size: number, count: number): void {
  sizes.set(size, (sizes.get(size) ?? 0) + count);
}
