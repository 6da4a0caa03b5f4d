/** Waiting for what other threads do. */
import { Result } from "../tracer/abi.ts";

/** A traced program may change what is global. */
const { Atomics, Math, performance } = globalThis;

const clock = new Int32Array(new SharedArrayBuffer(4));

export function pause(milliseconds: number): void {
  Atomics.wait(clock, 0, 0, milliseconds);
}

/** What one look at the clock is behind another at the most, in milliseconds, while a thread is at work. */
const longestStep = 20;

/**
 * A clock for limits, in milliseconds from now on. A process that is stopped meanwhile, or waits for a processor, has had no
 * time: the clock is to be looked at often.
 */
export function workingTime(): () => number {
  let spent = 0, last = performance.now();
  return () => {
    const now = performance.now();
    spent += Math.min(now - last, longestStep);
    last = now;
    return spent;
  };
}

/** Does what only one thread can do at a time, when no other does any more, or after so many milliseconds: the result. */
export function inTurn(begin: () => number, most: number): number {
  let begun = begin();
  for (const spent = workingTime(); begun === Result.busy && spent() < most;) {
    pause(5);
    begun = begin();
  }
  return begun;
}
