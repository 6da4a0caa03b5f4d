/**
 * The js-heap domain on V8: its sampling heap profiler runs, and the shim sees the records that it allocates and frees
 * (shim/js_heap.h).
 */
import type inspector from "node:inspector";
import { Result } from "../tracer/abi.ts";
import { UnsupportedError } from "../model/errors.ts";
import type { HeapSampler, JsHeapObjects, V8Shim } from "./backend.ts";
import { FunctionSampler } from "./v8_functions.ts";
import { closeSession, isAttached, openSession } from "./v8_session.ts";

/** Arrays by which the shim finds the records: their sizes are met nowhere else, four times each. */
const arrays = { first: 1237, step: 7, count: 48, rounds: 4 } as const;

/** Two different ones, for the second time confirms the first. */
const calibrationIntervals = [1, 7] as const;

/** An interval at which nothing is sampled, and that no word of V8's has by chance. */
const unusualInterval = 536_870_923;

let calibrated = false;

/**
 * Begins to sample the heap of the calling thread's isolate: one sample every so many bytes, on average; where other
 * isolates are sampled already, as often as those.
 */
export function sampleHeap(
  shim: V8Shim,
  interval: number,
  alone: boolean,
  refused: (cause: unknown) => Error,
): HeapSampler {
  const session = openSession(refused);
  try {
    if (!calibrated) {
      demandSampler(shim, session, unusualInterval);
      stopSampling(session);
      calibrated = calibrationIntervals.every((interval, i) => calibrate(shim, session, interval, i > 0));
    }
    const own = shim.jsHeapStart(interval, alone);
    if (own < 0) throw new Error(`the shim did not begin to watch V8's samples (${own})`);
    if (!calibrated) return sampleFunctions(shim, session, own);
    try {
      demandSampler(shim, session, own);
    } catch (error) {
      shim.jsHeapEnd();
      throw error;
    }
    return {
      interval: own,
      state: () => (["off", "on", "ended"] as const)[shim.jsHeapState()]!,
      unsampledThreads: shim.jsHeapUnsampled,
      recordOf: (object) => shim.jsHeapObjects.recordOf(object) || undefined,
      noLines: undefined,
      profile: () => undefined,
      clear() {},
      close() {
        stopSampling(session);
        closeSession();
      },
    };
  } catch (error) {
    closeSession();
    throw error;
  }
}

function sampleFunctions(shim: V8Shim, session: inspector.Session, interval: number): HeapSampler {
  const sampler = new FunctionSampler(session, interval);
  return {
    interval,
    state: () => sampler.state,
    unsampledThreads: shim.jsHeapUnsampled,
    recordOf: () => undefined,
    noLines: "the records of V8's heap profiler are not as expected",
    profile: () => sampler.profile(),
    clear: () => sampler.clear(),
    close() {
      sampler.close();
      closeSession();
    },
  };
}

/** Of the stack V8 keeps one frame: ours are found by the shim, and every one more makes each sample dearer. */
function startSampling(session: inspector.Session, samplingInterval: number): void {
  session.post("HeapProfiler.enable");
  session.post("HeapProfiler.startSampling", { samplingInterval, stackDepth: 1 } as object);
}

/**
 * By the command that is meant for it V8 makes a profile first: seconds for a million samples. The other also ends what
 * everybody else records of the heap.
 */
function stopSampling(session: inspector.Session): void {
  session.post(isAttached() ? "HeapProfiler.stopSampling" : "HeapProfiler.disable");
}

/** An isolate has one sampler, and whoever asks for a second one is told that all is well. */
function demandSampler(shim: V8Shim, session: inspector.Session, interval: number): void {
  watch(shim);
  startSampling(session, interval);
  if (shim.jsHeapBegan(interval) === Result.ok) return;
  throw new UnsupportedError(
    "V8 has one sampler of objects for each thread, and someone else uses it (DevTools, or a session of the program's " +
      'own): end that, or trace without "js-heap"',
  );
}

/** Only one thread at a time can have its mallocs watched. */
function watch(shim: V8Shim): void {
  let watched = shim.jsHeapWatch();
  for (const end = performance.now() + 5000; watched === Result.busy && performance.now() < end;) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
    watched = shim.jsHeapWatch();
  }
  if (watched !== Result.ok) throw new Error(`the shim did not begin to watch mallocs (${watched})`);
}

/** What the shim has to know of objects; they are to be sampled, each of them. */
function learnObjects(objects: JsHeapObjects, kept: readonly unknown[]): void {
  for (let i = 0; i < kept.length; i += 16) objects.learnHandle(kept[i]);
  const maps = Array.from({ length: 200 }, () => new Map<unknown, unknown>());
  for (const map of maps) objects.learnMap(map);
  for (let digits = 2; digits < 10; digits++) objects.learnInteger(1n << BigInt(64 * digits - 1), digits);
}

/** Are the records as expected? */
function calibrate(shim: V8Shim, session: inspector.Session, interval: number, confirm: boolean): boolean {
  const { first, step, count, rounds } = arrays;
  const kept: unknown[][] = new Array(rounds * count);
  const objects = confirm ? shim.jsHeapObjects : undefined;
  watch(shim);
  startSampling(session, interval);
  for (let i = 0; i < rounds * count; i++) kept[i] = new Array(first + step * (i % count));
  if (objects) learnObjects(objects, kept);
  const learnt = shim.jsHeapLearn({ ...arrays, interval, confirm });
  stopSampling(session);
  return learnt === Result.ok && kept.length === rounds * count;
}
