/**
 * The js-heap domain on V8: its sampling heap profiler runs, and the shim sees the records that it allocates and frees
 * (shim/js_heap.h).
 */
import inspector from "node:inspector";
import { Result } from "../tracer/abi.ts";
import { UnsupportedError } from "../model/errors.ts";
import type { HeapSampler, V8Shim } from "./backend.ts";

/** Arrays by which the shim finds the records: their sizes are met nowhere else, four times each. */
const arrays = { first: 1237, step: 7, count: 48, rounds: 4 } as const;

/** Two different ones, for the second time confirms the first. */
const calibrationIntervals = [1, 7] as const;

let calibrated = false;

/** Begins to sample the heap of the calling thread's isolate: one sample every so many bytes, on average. */
export function sampleHeap(
  shim: V8Shim,
  interval: number,
  alone: boolean,
  refused: (cause: unknown) => Error,
): HeapSampler {
  const session = new inspector.Session();
  try {
    session.connect();
  } catch (cause) {
    throw refused(cause);
  }
  // An isolate has one sampler, and whoever asks for a second one gets the first with its interval.
  session.post("HeapProfiler.stopSampling");
  try {
    if (!calibrated) calibrationIntervals.forEach((interval, i) => calibrate(shim, session, interval, i > 0));
    calibrated = true;
    const result = shim.jsHeapStart(interval, alone);
    if (result !== Result.ok) throw new Error(`the shim did not begin to watch V8's samples (${result})`);
  } catch (error) {
    session.disconnect();
    throw error;
  }
  startSampling(session, interval);
  return {
    interval,
    isIntact: () => shim.jsHeapState() === 1,
    close() {
      // Not stopSampling, which makes a profile: seconds for a million samples.
      session.post("HeapProfiler.disable");
      session.disconnect();
    },
  };
}

/** Of the stack V8 keeps one frame: ours are found by the shim, and every one more makes each sample dearer. */
function startSampling(session: inspector.Session, samplingInterval: number): void {
  session.post("HeapProfiler.enable");
  session.post("HeapProfiler.startSampling", { samplingInterval, stackDepth: 1 } as object);
}

function calibrate(shim: V8Shim, session: inspector.Session, interval: number, confirm: boolean): void {
  const { first, step, count, rounds } = arrays;
  const kept: unknown[][] = new Array(rounds * count);
  const watched = shim.jsHeapWatch();
  if (watched !== Result.ok) throw new Error(`the shim did not begin to watch mallocs (${watched})`);
  startSampling(session, interval);
  for (let i = 0; i < rounds * count; i++) kept[i] = new Array(first + step * (i % count));
  const learnt = shim.jsHeapLearn({ ...arrays, interval, confirm });
  session.post("HeapProfiler.disable");
  if (learnt !== Result.ok || kept.length !== rounds * count) {
    throw new UnsupportedError(
      "the js-heap domain is not to be had here: the records of V8's heap profiler are not as expected; " +
        'trace without "js-heap"',
    );
  }
}
