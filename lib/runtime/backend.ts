/** What a runtime must supply, so that everything else is written once. */

import type { DomainName } from "../model/domain.ts";

/** One runtime. */
export interface Backend<S extends Shim = Shim> {
  readonly runtime: "deno" | "bun" | "node";
  readonly runtimeVersion: string;
  /** For instance `"V8 15.0.245.2"`. */
  readonly engine: string;
  /** For instance `"linux-x86_64"`. */
  readonly platform: string;
  /**
   * Loads the shim: the one at `path`, or the one of this library, which is built where that is allowed and needed.
   * Throws `UnsupportedError`.
   */
  openShim(path?: string): S;
  /** Prepares the engine so that its frames can be named. Throws `UnsupportedError`. */
  openEngine(shim: S): Engine;
}

/** The shim's functions (shim/tracemalloc.h); results are TM_OK or an error's number. */
export interface Shim {
  status(): number;
  /** `flags`: of `StartFlag`. */
  start(nframe: number, flags: number): number;
  /** Before the start: one block every so many bytes is recorded, on average; 1: every block. */
  sample(bytes: number): number;
  stop(): number;
  clear(): number;
  /** The shim of another copy of this library that traces this process now. */
  other(): string | undefined;
  /** Current size, peak, what the tracer itself uses (bytes), and the traceback limit. */
  memory(): readonly [current: number, peak: number, own: number, limit: number];
  resetPeak(): void;
  /** While muted, what this thread allocates is not recorded. */
  mute(on: boolean): void;
  /** A copy of a new image, or `undefined` where there is no memory for it. */
  snapshot(): Uint8Array<ArrayBuffer> | undefined;
  /** Where the bytes of a buffer, or what a pointer object of the runtime points to, begin; `undefined` for all else. */
  addressOf(x: ArrayBufferLike | object): bigint | undefined;
  /** A copy of an image with the block of a domain that begins at an address as its only row, or with none. */
  snapshotOf(domain: number, address: bigint): Uint8Array<ArrayBuffer> | undefined;
  /** Results are 0, -1 (no memory) or -2 (not tracing). */
  track(domain: number, address: bigint, size: bigint): number;
  untrack(domain: number, address: bigint): number;
  /** Writes a file of two pieces, whole or not at all; needs no permission. Throws. */
  save(path: string, first: Uint8Array<ArrayBuffer>, second: Uint8Array<ArrayBuffer>): void;
  /** From now on the shim writes files by itself: at the process's end and as is asked for. Results as above. */
  output(settings: OutputSettings): number;
  /** The process ends, and what was saved last is the last. */
  outputDone(): void;
}

/** The shim's functions for V8. */
export interface V8Shim extends Shim {
  /** Scripts whose URL begins so are left out of tracebacks, as the runtime's own are. */
  v8Hide(urlPrefix: string): void;
  v8Begin(spec: Uint8Array<ArrayBuffer>): number;
  v8Check(spec: Uint8Array<ArrayBuffer>): number;
  /** Called as a function of its own by the calibration scripts: the shim looks at its caller's frames. */
  readonly v8Probe: (step: number) => number;
  /** Of an option of V8's, as it was given when the process was started: 1: it is on, -1: off, 0: nothing is said. */
  v8Option(name: string): number;
  v8End(verdict: number): number;
  v8Report(): string;
  /** Begins to watch this thread's mallocs; learning from them ends it. Results are those of control functions. */
  jsHeapWatch(): number;
  jsHeapLearn(spec: JsHeapSpec): number;
  /** Ends the watch, too: has a sampler of this interval begun since? */
  jsHeapBegan(interval: number): number;
  /** One of `RecordState`, and tiers. */
  jsHeapKnown(): number;
  /** From now to the end this thread's records are kept apart. Results as above. */
  jsHeapVerify(): number;
  jsHeapVerifyEnd(): void;
  /** Puts the records, five words each (shim/tracemalloc.h), where they are wanted; returns how many, or as above. */
  jsHeapVerified(rows: Uint32Array<ArrayBuffer>): number;
  /** What was verified of the records: they are in that state, of `RecordState`; and in code of these tiers, too. */
  jsHeapJudge(state: number, tiers: number): void;
  /** `alone`: without the native domain. Returns the interval, which is that of other threads if there are any. */
  jsHeapStart(interval: number, alone: boolean): number;
  jsHeapEnd(): void;
  /** 0: the calling thread's heap is not sampled; 1: it is; 2: it was, until someone else ended it. */
  jsHeapState(): number;
  jsHeapUnsampled(): number;
  /** What takes objects. */
  readonly jsHeapObjects: JsHeapObjects;
  /** The caller's frames as line, column (both from 1) and tiers, the most recent first. */
  v8Frames(most: number): Uint32Array;
}

/** What the shim writes by itself. */
export interface OutputSettings {
  readonly path: string;
  /** What stands before the image in a file. */
  readonly head: Uint8Array<ArrayBuffer>;
  /** Write so often; 0: not. */
  readonly milliseconds: number;
  /** Write whenever the traced size has changed by so many bytes; 0: not. */
  readonly bytes: number;
  /** Write when this signal comes; 0: none. */
  readonly signal: number;
}

/** Arrays that are made while mallocs are watched (shim/tracemalloc.h). */
export interface JsHeapSpec {
  readonly first: number;
  readonly step: number;
  readonly count: number;
  readonly rounds: number;
  readonly interval: number;
  readonly confirm: boolean;
}

/** Functions of the shim that are given objects of V8's heap. */
export interface JsHeapObjects {
  /** While mallocs are watched: finds out how a record leads to its object. */
  learnHandle(object: unknown): void;
  /** And then what type they have: `integer` has so many digits of 64 bits, `map` is empty and new. */
  learnInteger(integer: bigint, digits: number): void;
  learnMap(map: ReadonlyMap<unknown, unknown>): void;
  /** While records are kept apart: the number of that of an object, if it was made since the last call; or of a result. */
  verify(object: unknown): number;
  /** Where the record of an object is; 0: there is none. */
  recordOf(object: unknown): number;
  /** Is it a pointer object of the runtime? 1: it is. */
  isPointer(object: unknown): number;
}

/** Objects of the engine's heap by the function that made them. */
export interface FunctionProfile {
  /** Milliseconds since 1970. */
  readonly takenAt: number;
  readonly rows: readonly ProfiledRow[];
}

/** Alike objects. */
export interface ProfiledRow {
  /** Where the functions begin that were on the stack, the most recent last. */
  readonly frames: readonly (Position & { readonly url: string })[];
  /** Bytes of one. */
  readonly size: number;
  readonly count: number;
}

/** Objects of the engine's heap while they are sampled. */
export interface HeapSampler {
  /** Bytes between samples, on average. */
  readonly interval: number;
  /** Ended: by someone else. */
  state(): "off" | "on" | "ended";
  /** How many threads run JavaScript whose objects are not sampled. */
  unsampledThreads(): number;
  /** By what address an object is known in the domain, if it is. */
  recordOf(object: object): number | undefined;
  /** Why it is known which function made an object, and not the line; `undefined`: lines are known. It can turn out late. */
  readonly noLines: string | undefined;
  /** What is known to be right of lines and sizes; `undefined`: nothing is to be verified. */
  readonly verified?: string | undefined;
  /** Where lines are not known: the latest of the engine's own profiles, if there is one yet; the shim knows no objects. */
  profile(): FunctionProfile | undefined;
  /** Forgets what {@linkcode profile} is of. */
  clear(): void;
  /** Where objects are known by type alone, and not by line: all that live now. */
  types?(): readonly HeapType[];
  /** Leaves the engine as it was found. */
  close(): void;
}

/** Buffers while they are traced at the level of JavaScript. */
export interface BufferTracer {
  /** What a buffer goes by in the domain, in place of its address; `undefined`: it is not known. */
  numberOf(memory: object): bigint | undefined;
  /** Takes in what is not yet known to have been made; to be called before an image is taken. */
  settle(): void;
  /** Puts back what was replaced. */
  close(): void;
}

/** Objects of the engine's heap that are alike. */
export interface HeapType {
  readonly name: string;
  /** Bytes of each. */
  readonly size: number;
  readonly count: number;
}

/** A position in the text that the engine compiled; both from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** What tells the text of a script that the engine compiled from others. */
export interface ScriptText {
  /** UTF-16 units. */
  readonly length: number;
  /** 32-bit FNV-1a over them; 0: not known. */
  readonly hash: number;
}

/** A position in what the author wrote. */
export interface OriginalPosition {
  readonly url: string;
  /** 0: nothing that the author wrote. */
  readonly line: number;
}

/** The engine while it is traced. */
export interface Engine {
  /** What was found of its layout, in the order found. */
  readonly calibration: ReadonlyMap<string, string>;
  /** Why there are no frames of JavaScript, if there are none: one sentence. */
  readonly refusal: string | undefined;
  /**
   * What the author wrote at positions in the compiled text of a script; `undefined` where that is what stands there.
   * `foreign`: the text, where this thread has no script with it, but another has. `text`: the text in any case.
   */
  originalPositions(
    url: string,
    positions: readonly Position[],
    foreign: ScriptText | undefined,
    text: ScriptText,
  ): readonly (OriginalPosition | undefined)[];
  /**
   * Begins to sample the objects of this thread's heap, one every so many bytes on average; `alone`: and ends the native
   * domain. `warn` is told why lines are not known if that is so, now or later. Throws `UnsupportedError`.
   */
  sampleHeap(interval: number, alone: boolean, warn: (why: string) => void): HeapSampler;
  /** What is traced where nothing else is said. */
  readonly defaultDomains: readonly DomainName[];
  /**
   * Begins to trace the buffers that this thread makes at the level of JavaScript; `alone`: and ends the native domain.
   * Throws `UnsupportedError` where the native domain has them.
   */
  traceBuffers(alone: boolean): BufferTracer;
  /** Where threads are not traced by themselves: has the workers that this thread starts trace the domains; returns what ends that. */
  traceWorkers?(domains: readonly DomainName[]): () => void;
  /** Collects all garbage of this thread's heap, now. */
  collectGarbage(): void;
  /** Gives names to what was recorded and can only be named later; to be called before an image is taken. */
  nameRecorded(): void;
  /** Leaves the engine as it was found. */
  close(): void;
}
