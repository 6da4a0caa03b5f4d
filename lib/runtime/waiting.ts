/** Waiting for what other threads do. */
import { Result } from "../tracer/abi.ts";

/** A traced program may change what is global. */
const { Atomics, performance } = globalThis;

const clock = new Int32Array(new SharedArrayBuffer(4));

export function pause(milliseconds: number): void {
  Atomics.wait(clock, 0, 0, milliseconds);
}

/** Does what only one thread can do at a time, when no other does any more, or after so many milliseconds: the result. */
export function inTurn(begin: () => number, most: number): number {
  let begun = begin();
  for (const end = performance.now() + most; begun === Result.busy && performance.now() < end;) {
    pause(5);
    begun = begin();
  }
  return begun;
}
