/** The allocator inside the program, mimalloc: found by the shim, and tested here before it is believed. */
import { Result } from "../tracer/abi.ts";

/** The shim's functions for it (shim/tracemalloc.h: tracemalloc_mimalloc_…). */
export interface MimallocShim {
  begin(): number;
  expect(size: bigint): void;
  /** Address of the block looked out for, how many there were, how often it was freed. */
  seen(): readonly [address: bigint, allocated: bigint, freed: bigint];
  /** Size of a block of the garbage-collected heap, and how many were seen. */
  garbage(): readonly [size: bigint, count: bigint];
  end(accept: number): number;
  report(): string;
}

/** What was found. */
export interface MimallocCalibration {
  readonly calibration: ReadonlyMap<string, string>;
  /** Why the allocator is not traced, if it is not: one sentence. */
  readonly refusal: string | undefined;
}

/** One for every way of the allocator: two of the small blocks, the larger ones, one with a mapping of its own. */
const sizes = [333, 1_021, 1_031, 9_973, 54_323, 543_227, 41_999_993];

/** Objects to be made at most for the collector to need blocks. */
const mostObjects = 20_000;

/** Taken before a program can change them. */
const { ArrayBuffer, Array } = globalThis;
const transfer = ArrayBuffer.prototype.transfer;

/** Bytes of an `ArrayBuffer` are given back at once when they are taken from it. */
function drop(buffer: ArrayBuffer): void {
  Reflect.apply(transfer, buffer, [0]);
}

function testSizes(shim: MimallocShim, addressOf: (buffer: ArrayBuffer) => bigint): string | undefined {
  for (const size of sizes) {
    shim.expect(BigInt(size));
    const buffer = new ArrayBuffer(size), address = addressOf(buffer);
    const [seenAt, allocated, early] = shim.seen();
    drop(buffer);
    const [, , freed] = shim.seen();
    const found = `${allocated} of ${size} bytes at ${seenAt.toString(16)}, freed ${early} and ${freed} times`;
    if (seenAt !== address || allocated !== 1n || early !== 0n || freed !== 1n) {
      return `a block at ${address.toString(16)}: ${found}`;
    }
  }
  return undefined;
}

function testGarbage(shim: MimallocShim, addressOf: (buffer: ArrayBuffer) => bigint): string | undefined {
  const kept: unknown[] = [];
  let [size, count] = shim.garbage();
  for (let made = 0; count < 2n && made < mostObjects; made += 100) {
    for (let i = 0; i < 100; i++) kept.push(new Array(100).fill(i));
    [size, count] = shim.garbage();
  }
  if (count < 2n) return `${count} blocks of the garbage-collected heap for ${kept.length} objects`;
  for (let tries = 0; tries < 5; tries++) {
    shim.expect(size);
    const buffer = new ArrayBuffer(Number(size)), address = addressOf(buffer);
    const [seenAt, allocated] = shim.seen();
    drop(buffer);
    // Else the collector has just needed a block itself.
    if (seenAt === address && allocated === 1n) return undefined;
  }
  return "an ordinary block as large as one of the garbage-collected heap";
}

/** Finds and tests the allocator; from then on its blocks are traced whenever tracing is on. */
export function openMimalloc(shim: MimallocShim, addressOf: (buffer: ArrayBuffer) => bigint): MimallocCalibration {
  const found = shim.begin();
  let failure: string | undefined;
  if (found === Result.ok) {
    failure = testSizes(shim, addressOf) ?? testGarbage(shim, addressOf);
    shim.end(failure === undefined ? 1 : 0);
  }
  const calibration = new Map<string, string>();
  for (const line of shim.report().split("\n")) {
    const space = line.indexOf(" ");
    if (space > 0) calibration.set(line.slice(0, space), line.slice(space + 1));
  }
  failure ??= calibration.get("failed");
  if (failure === undefined) return { calibration, refusal: undefined };
  calibration.set("failed", failure);
  return {
    calibration,
    refusal: `the memory that the runtime allocates by itself is not traced: its allocator does not show ${failure}`,
  };
}
