/**
 * The js-heap domain on V8: its sampling heap profiler runs, and the shim sees the records that it allocates and frees
 * (shim/js_heap.h).
 */
import type inspector from "node:inspector";
import { UnsupportedError } from "../model/errors.ts";
import { RecordState, Result, Tier } from "../tracer/abi.ts";
import type { FunctionProfile, HeapSampler, JsHeapObjects, V8Shim } from "./backend.ts";
import { FunctionSampler } from "./v8_functions.ts";
import { inTurn } from "./waiting.ts";
import { closeSession, isAttached, openSession } from "./v8_session.ts";
import { type Verification, verifyRecords } from "./v8_verify.ts";

/** Arrays by which the shim finds the records: their sizes are met nowhere else, four times each. */
const arrays = { first: 1237, step: 7, count: 48, rounds: 4 } as const;

/** Two different ones, for the second time confirms the first. */
const calibrationIntervals = [1, 7] as const;

/** An interval at which nothing is sampled, and that no word of V8's has by chance. */
const unusualInterval = 536_870_923;

/** Milliseconds to wait for another thread that does what one does at a time. */
const longestTurn = 5000;

/** What to sample, and for whom. */
export interface Sampling {
  readonly shim: V8Shim;
  /** Bytes between two samples, on average. */
  readonly interval: number;
  /** Without the native domain. */
  readonly alone: boolean;
  /** Are V8's frames read? */
  readonly frames: boolean;
  /** The error where the program may not use the inspector. */
  refused(cause: unknown): Error;
  /** To be told why lines are not known; at once, or when V8's own profile has come. */
  warn(why: string): void;
}

/** What there is on this thread. */
let current: V8HeapSampler | undefined;

/** Has this thread asked for V8's own profile of what it verified the records with? */
let asked = false;

/** What this thread has found wrong with the records. */
let wrong: string | undefined;

/**
 * Begins to sample the heap of the calling thread's isolate: one sample every so many bytes, on average; where other
 * isolates are sampled already, as often as those.
 */
export function sampleHeap(sampling: Sampling): HeapSampler {
  const { shim, interval, alone, frames } = sampling;
  const session = openSession(sampling.refused);
  try {
    if (!isKnown(shim)) {
      demandSampler(shim, session, unusualInterval);
      stopSampling(session);
      if (frames && stateOf(shim) === RecordState.unknown) learnRecords(shim, session);
    }
    if (stateOf(shim) === RecordState.learnt && !asked) verify(shim, session);
    const own = shim.jsHeapStart(interval, alone);
    if (own < 0) throw new Error(`the shim did not begin to watch V8's samples (${own})`);
    return current = new V8HeapSampler(sampling, session, own);
  } catch (error) {
    closeSession();
    throw error;
  }
}

/** Of all threads. */
function stateOf(shim: V8Shim): number {
  return shim.jsHeapKnown() & ((1 << RecordState.tiers) - 1);
}

function isKnown(shim: V8Shim): boolean {
  const state = stateOf(shim);
  return state === RecordState.learnt || state === RecordState.profiled;
}

function verify(shim: V8Shim, session: inspector.Session): void {
  // Where another thread is at it, that holds for all.
  if (shim.jsHeapVerify() !== Result.ok) return;
  const sampled = (work: () => void) => {
    apart(shim, session, work);
    asked = true;
  };
  const verified = verifyRecords(shim, session, sampled, (compared) => {
    if (compared) take(shim, RecordState.profiled, compared);
    else asked = false;
  });
  if (verified) take(shim, RecordState.learnt, verified);
}

function take(shim: V8Shim, state: number, { refusal, tiers }: Verification): void {
  if (refusal !== undefined) refuse(shim, refusal);
  else if (isKnown(shim)) shim.jsHeapJudge(state, tiers);
}

/** The records are used no more: what was sampled so far is gone. */
function refuse(shim: V8Shim, why: string): void {
  wrong = why;
  shim.jsHeapJudge(RecordState.refused, 0);
  current?.fall(why);
}

/** Does work while V8 samples every object of this thread, and ends that the shim keeps the records apart. */
function apart(shim: V8Shim, session: inspector.Session, work: () => void): void {
  try {
    demandSampler(shim, session, 1);
    try {
      work();
    } finally {
      stopSampling(session);
    }
  } finally {
    shim.jsHeapVerifyEnd();
  }
}

/** By its records; or, where these are not as expected, by V8's own profile. */
class V8HeapSampler implements HeapSampler {
  readonly interval: number;
  readonly #sampling: Sampling;
  readonly #session: inspector.Session;
  #functions: FunctionSampler | undefined;
  #noLines: string | undefined;

  constructor(sampling: Sampling, session: inspector.Session, interval: number) {
    const { shim, frames } = sampling;
    this.interval = interval;
    this.#sampling = sampling;
    this.#session = session;
    if (isKnown(shim) && frames) {
      try {
        demandSampler(shim, session, interval);
      } catch (error) {
        shim.jsHeapEnd();
        throw error;
      }
    } else this.#begin(frames ? recordsRefused(shim) : "V8's frames are not read");
  }

  state(): "off" | "on" | "ended" {
    return this.#now()?.state ?? (["off", "on", "ended"] as const)[this.#sampling.shim.jsHeapState()]!;
  }

  get noLines(): string | undefined {
    this.#now();
    return this.#noLines;
  }

  get verified(): string | undefined {
    if (this.#now()) return undefined;
    const known = this.#sampling.shim.jsHeapKnown(), state = stateOf(this.#sampling.shim);
    const tiers = Object.entries(Tier).filter(([, bit]) => known >> RecordState.tiers & bit).map(([name]) => name);
    return `lines of ${tiers.length > 0 ? tiers.join(", ") : "no"} code; V8's own profile ` +
      (state === RecordState.profiled ? "has the same objects" : "has not been seen yet");
  }

  unsampledThreads(): number {
    return this.#sampling.shim.jsHeapUnsampled();
  }

  recordOf(object: object): number | undefined {
    return this.#now() ? undefined : this.#sampling.shim.jsHeapObjects.recordOf(object) || undefined;
  }

  profile(): FunctionProfile | undefined {
    return this.#now()?.profile();
  }

  clear(): void {
    this.#now()?.clear();
  }

  close(): void {
    current = undefined;
    if (this.#functions) this.#functions.close();
    else stopSampling(this.#session);
    closeSession();
  }

  /** From now on it is V8's own profile. */
  fall(why: string): void {
    if (this.#functions) return;
    stopSampling(this.#session);
    this.#begin(`the records of V8's heap profiler are wrong: ${why}`);
  }

  #begin(why: string): void {
    this.#noLines = why;
    this.#functions = new FunctionSampler(this.#session, this.interval);
    this.#sampling.warn(why);
  }

  /** What there is in place of the records; another thread can have found that they are wrong. */
  #now(): FunctionSampler | undefined {
    if (!this.#functions && stateOf(this.#sampling.shim) === RecordState.refused) {
      this.fall("another thread has found that");
    }
    return this.#functions;
  }
}

function recordsRefused(shim: V8Shim): string {
  return stateOf(shim) === RecordState.refused
    ? `the records of V8's heap profiler are wrong: ${wrong ?? "another thread has found that"}`
    : "the records of V8's heap profiler are not as expected";
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
  if (shim.jsHeapBegan(interval) !== Result.state) return;
  throw new UnsupportedError(
    "V8 has one sampler of objects for each thread, and someone else uses it (DevTools, or a session of the program's " +
      'own): end that, or trace without "js-heap"',
  );
}

/** Only one thread at a time can have its mallocs watched. */
function watch(shim: V8Shim): void {
  const watched = inTurn(() => shim.jsHeapWatch(), longestTurn);
  if (watched !== Result.ok) throw new Error(`the shim did not begin to watch mallocs (${watched})`);
}

/** What the shim has to know of objects; they are to be sampled, each of them. */
function learnObjects(objects: JsHeapObjects, kept: readonly unknown[]): void {
  for (let i = 0; i < kept.length; i += 16) objects.learnHandle(kept[i]);
  const maps = Array.from({ length: 16 }, () => new Map<unknown, unknown>());
  for (const map of maps) objects.learnMap(map);
  for (let digits = 2; digits < 10; digits++) objects.learnInteger(1n << BigInt(64 * digits - 1), digits);
}

/** Two times, with different intervals: the second confirms the first. */
function learnRecords(shim: V8Shim, session: inspector.Session): void {
  calibrationIntervals.every((interval, i) => learn(shim, session, interval, i > 0));
}

/** Are the records as expected? */
function learn(shim: V8Shim, session: inspector.Session, interval: number, confirm: boolean): boolean {
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
