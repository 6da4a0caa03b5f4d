/**
 * Reads mutated snapshot files. Each must end in the data of the file that was mutated or in one
 * `SnapshotFormatError`; where the mutation repairs the checksums, other data that is right in itself will do. The
 * arrays that are made for a file must not take more than four times its bytes and 64 MiB.
 *
 * Mutated pickles are read likewise, one for every ten snapshot files.
 *
 *   deno run -A tests/format/fuzz.ts [COUNT] [SEED]        (1,000,000 mutations unless told)
 */
import { assert, assertEquals } from "@std/assert";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import type { SnapshotColumns } from "../../lib/model/columns.ts";
import { SnapshotFormatError } from "../../lib/model/errors.ts";
import { readPickle } from "../../lib/format/pickle.ts";
import { readSnapshot } from "../../lib/format/reader.ts";
import { snapshotBytes } from "../../lib/format/writer.ts";
import { fileOf, recordsOf } from "./records.ts";
import { columnsOf, meaning, type PlainTrace } from "./snapshots.ts";

/** What a run saw. */
export interface FuzzReport {
  same: number;
  other: number;
  refused: number;
  /** Milliseconds of the slowest reading. */
  slowest: number;
  /** Bytes of the arrays that were made for a file, at most. */
  largest: number;
}

/**
 * Mutates and reads snapshot files.
 *
 * @throws Where a reading ends in anything else than what is allowed; the message says which.
 */
export function fuzz(count: number, seed: number): FuzzReport {
  const random = new Random(seed);
  const files = seeds().map((columns) => {
    const bytes = snapshotBytes(columns, {
      runtime: "deno",
      pid: 7,
      calibration: new Map([["a", "b"]]),
      attribution: [{ reason: "javascript", blocks: 1, bytes: 2 }],
    });
    return { bytes, meaning: JSON.stringify(meaning(columns)) };
  });
  return readAll(count, seed, () => {
    const file = files[random.below(files.length)]!;
    const repaired = random.below(2) === 1;
    return {
      bytes: repaired ? mutateMessages(file.bytes, random) : mutate(file.bytes, random),
      read: (bytes) => readSnapshot(bytes, { partial: false }).columns,
      meaning: file.meaning,
      // Without right checksums nothing else than what was written can be read.
      mayDiffer: repaired,
    };
  });
}

/** Likewise pickles, which have no checksums. */
export function fuzzPickles(count: number, seed: number): FuzzReport {
  const random = new Random(seed);
  const folder = new URL("pickles/", import.meta.url);
  const files = readdirSync(folder).filter((name) => name.endsWith(".pickle")).sort().map((name) => {
    const bytes = new Uint8Array(readFileSync(new URL(name, folder)));
    return { bytes, meaning: JSON.stringify(meaning(readPickle([bytes]))) };
  });
  return readAll(count, seed, () => {
    const file = files[random.below(files.length)]!;
    return {
      bytes: mutate(file.bytes, random),
      read: (bytes) => readPickle([bytes.subarray(0, 100), bytes.subarray(100)]),
      meaning: file.meaning,
      mayDiffer: true,
    };
  });
}

/** A file to read, and what may come of it. */
interface Reading {
  readonly bytes: Uint8Array;
  readonly read: (bytes: Uint8Array) => SnapshotColumns;
  /** What the file meant before it was mutated. */
  readonly meaning: string;
  readonly mayDiffer: boolean;
}

function readAll(count: number, seed: number, next: () => Reading): FuzzReport {
  const report: FuzzReport = { same: 0, other: 0, refused: 0, slowest: 0, largest: 0 };
  for (let i = 0; i < count; i++) {
    const { bytes, read, meaning: before, mayDiffer } = next();
    const started = performance.now();
    const { result: columns, allocated } = countAllocated(() => {
      try {
        return read(bytes);
      } catch (error) {
        if (!(error instanceof SnapshotFormatError)) {
          throw new Error(`mutation ${i} of seed ${seed} ended in ${error}`, { cause: error });
        }
        assert(error.offset >= 0 && error.offset <= bytes.length, `mutation ${i}: offset ${error.offset}`);
        return null;
      }
    });
    report.slowest = Math.max(report.slowest, performance.now() - started);
    report.largest = Math.max(report.largest, allocated);
    const most = 4 * bytes.length + 64 * 2 ** 20;
    assert(allocated <= most, `mutation ${i} of seed ${seed} took ${allocated} bytes for a file of ${bytes.length}`);
    if (columns === null) {
      report.refused++;
      continue;
    }
    if (mayDiffer) assertSound(columns);
    const same = JSON.stringify(meaning(columns)) === before;
    assert(same || mayDiffer, `mutation ${i} of seed ${seed} was read as other data`);
    report[same ? "same" : "other"]++;
  }
  return report;
}

/**
 * Runs, and counts the bytes of all typed arrays that are made meanwhile, whether they are given up again or not: more
 * than are ever there at once.
 */
export function countAllocated<T>(run: () => T): { readonly result: T; readonly allocated: number } {
  let allocated = 0;
  const types = ["Uint8Array", "Uint16Array", "Int32Array", "Uint32Array", "Float64Array"] as const;
  const originals = types.map((name) => globalThis[name]);
  const replace = (name: (typeof types)[number], type: unknown, original: { readonly prototype: object }) => {
    Object.defineProperty(globalThis, name, { value: type, writable: true, configurable: true });
    // So that slice, map and filter make arrays of the same type.
    Object.defineProperty(original.prototype, "constructor", { value: type, writable: true, configurable: true });
  };
  types.forEach((name, i) => {
    const counting = new Proxy(originals[i]!, {
      construct(target, args, newTarget) {
        const made = Reflect.construct(target, args, newTarget);
        if (!(args[0] instanceof ArrayBuffer)) allocated += made.byteLength;
        return made;
      },
    });
    replace(name, counting, originals[i]!);
  });
  try {
    const result = run();
    return { result, allocated };
  } finally {
    types.forEach((name, i) => replace(name, originals[i]!, originals[i]!));
  }
}

/** Every reference of a snapshot is to something that exists. */
function assertSound(columns: SnapshotColumns): void {
  const within = (values: Uint32Array, length: number) => values.every((value) => value < length);
  assert(within(columns.frameFilename, columns.filenames.length));
  assert(within(columns.nodeFrame.subarray(1), columns.frameFilename.length));
  assert(columns.nodeParent.every((parent, node) => node === 0 || parent < node));
  assert(within(columns.tracebackNode, columns.nodeParent.length));
  assert(within(columns.traceTraceback, columns.tracebackNode.length));
  assert(columns.traceSize.every((size) => Number.isSafeInteger(size) && size >= 0));
  assert(columns.traceCount.every((weight) => weight > 0 && weight < Infinity));
  assertEquals(columns.frameFilename.length, columns.frameLineno.length);
  assertEquals(columns.tracebackNode.length, columns.tracebackTotal.length);
}

/** Small files with everything in them. */
function seeds(): SnapshotColumns[] {
  const random = new Random(1);
  const make = (rows: number, weights: boolean): SnapshotColumns =>
    columnsOf(Array.from({ length: rows }, (): PlainTrace => ({
      domain: random.below(3),
      size: random.below(8) === 0 ? 2 ** 33 + random.below(1000) : 16 * random.below(40),
      count: weights && random.below(2) === 0 ? 0.25 + random.below(9) : 1 + random.below(9),
      frames: Array.from(
        { length: random.below(5) },
        () => [`src/${"ab\ud83d\ude00\ud800"[random.below(5)]}.ts`, random.below(99)],
      ),
      total: random.below(2) === 0 ? null : 5 + random.below(5),
    })));
  return [make(0, false), make(3, false), make(60, false), make(300, true)];
}

/** Bits flipped; ranges cut, inserted, doubled, zeroed; numbers replaced. */
function mutate(bytes: Uint8Array, random: Random): Uint8Array {
  let file = bytes.slice();
  for (let times = 1 + random.below(3); times > 0; times--) {
    const at = random.below(file.length + 1);
    const length = Math.min(file.length - at, random.below(4) === 0 ? random.below(200) : 1 + random.below(9));
    const rest = file.subarray(at + length);
    switch (random.below(7)) {
      case 0:
        if (at < file.length) file[at]! ^= 1 << random.below(8);
        break;
      case 1:
        file = concat(file.subarray(0, at), rest);
        break;
      case 2:
        file = concat(file.subarray(0, at), Uint8Array.from({ length }, () => random.below(256)), file.subarray(at));
        break;
      case 3:
        file = concat(file.subarray(0, at + length), file.subarray(at));
        break;
      case 4:
        file.fill(0, at, at + length);
        break;
      case 5:
        file = file.slice(0, at);
        break;
      default:
        replaceNumber(file, random);
    }
  }
  return file;
}

/** Messages mutated, left out, doubled and exchanged, with everything around them as it should be. */
function mutateMessages(bytes: Uint8Array, random: Random): Uint8Array {
  const messages = recordsOf(bytes).map(({ message }) => message.slice());
  for (let times = 1 + random.below(3); times > 0; times--) {
    const i = random.below(messages.length);
    const message = messages[i]!;
    switch (random.below(8)) {
      case 0:
        messages.splice(i, random.below(2), message);
        break;
      case 1:
        if (messages.length > 1) messages.splice(i, 1);
        break;
      case 2:
        messages.reverse();
        break;
      case 3: {
        const mutated = mutate(message, random);
        messages[i] = concat(mutated, new Uint8Array((8 - mutated.length % 8) % 8));
        break;
      }
      case 4:
      case 5:
        message[random.below(message.length)]! ^= 1 << random.below(8);
        break;
      default:
        replaceNumber(message, random);
    }
  }
  return fileOf(messages);
}

/** Puts a number that is likely to hurt somewhere. */
function replaceNumber(bytes: Uint8Array, random: Random): void {
  const hostile = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff];
  const width = [1, 2, 4][random.below(3)]!;
  if (bytes.length < 4) return;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = random.below(bytes.length - 3);
  const near = view.getUint32(at, true) + random.below(9) - 4;
  const value = random.below(3) === 0 ? near : hostile[random.below(hostile.length)]!;
  if (width === 1) view.setUint8(at, value);
  else if (width === 2) view.setUint16(at, value, true);
  else view.setUint32(at, value, true);
}

function concat(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Numbers that only look random: the same seed gives the same ones on every runtime (mulberry32). */
class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  below(bound: number): number {
    this.#state = this.#state + 0x6d2b79f5 | 0;
    let t = Math.imul(this.#state ^ this.#state >>> 15, 1 | this.#state);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return Math.floor(((t ^ t >>> 14) >>> 0) / 2 ** 32 * bound);
  }
}

/** What a run saw, as a line. */
export function reportText(what: string, count: number, seed: number, report: FuzzReport): string {
  const { refused, same, other, slowest, largest } = report;
  const mebibytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  return `${count} mutated ${what}, seed ${seed}: ${refused} refused, ${same} read as before, ` +
    `${other} as other sound data; slowest ${slowest.toFixed(1)} ms, at most ${mebibytes(largest)} of arrays for a ` +
    `file, ${mebibytes(process.memoryUsage().rss)} resident`;
}

if (import.meta.main) {
  const count = Number(process.argv[2] ?? 1_000_000);
  const seed = Number(process.argv[3] ?? Date.now() % 2 ** 31);
  console.log(reportText("snapshot files", count, seed, fuzz(count, seed)));
  console.log(reportText("pickles", Math.ceil(count / 10), seed, fuzzPickles(Math.ceil(count / 10), seed)));
}
