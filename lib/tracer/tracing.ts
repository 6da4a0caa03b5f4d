/** What `start()` to `takeSnapshot()` do, on every runtime. */
import type { SnapshotMetadata } from "../model/columns.ts";
import { Domain, type DomainName } from "../model/domain.ts";
import { NotTracingError, UnsupportedError } from "../model/errors.ts";
import type { Snapshot } from "../model/snapshot.ts";
import type { Traceback } from "../model/traceback.ts";
import type { Backend, BufferTracer, Engine, HeapSampler, OutputSettings, Shim } from "../runtime/backend.ts";
import { detectBackend } from "../runtime/detect.ts";
import { Result, StartFlag, Status } from "./abi.ts";
import { readImage } from "./image.ts";
import { nameProfile } from "./functions.ts";
import { Namer } from "./naming.ts";
import { type FunctionTraces, snapshotOf, type TracedImage, transferHead } from "./traced_image.ts";

/** What a traced process has. */
export interface Tracing {
  readonly backend: Backend;
  readonly shim: Shim;
  readonly engine: Engine;
  readonly namer: Namer;
  /** Of the process, at this number of which this thread began or joined. */
  readonly starts: number;
  /** Samples the objects of the engine's heap; undefined where that domain is not traced. */
  heapSampler?: HeapSampler | undefined;
  /** Traces buffers at the level of JavaScript; undefined where that domain is not traced. */
  buffers?: BufferTracer | undefined;
  /** Ends that workers trace themselves from their start. */
  leaveWorkers?: (() => void) | undefined;
}

let tracing: Tracing | undefined;

/** Options of {@linkcode start}. */
export interface StartOptions {
  /**
   * Kinds of memory to trace, by default `["native"]`: blocks of malloc and its family.
   *
   * `"js-heap"` are the objects in the heap of the engine (V8), of the calling thread: a sample of them, whose sizes
   * and counts in statistics stand for all. Sampled objects that have died are gone after the next collection.
   *
   * `"mmap"` are anonymous mappings: what the engine's heap, its code and WebAssembly memories take, among others. Sizes
   * are bytes that may be accessed, whether they have been touched or not. Reserved address space counts from when it is
   * opened (mprotect), for the line that opens it; what is given back or closed again is gone, and what is left of a
   * mapping in two places counts as two. Stacks of threads and malloc's own pages, which the C library maps by itself, are
   * not seen. Buffers whose memory is mapped stand here, and not among `"native"`.
   */
  readonly domains?: readonly DomainName[];
  /**
   * Bytes between two samples of the `"js-heap"` domain, on average: a whole number from 1, which takes every object, to
   * 2^30; by default 8192. What it costs is a few microseconds a sample.
   */
  readonly jsInterval?: number;
  /**
   * Keep the frames of native code in tracebacks, too, and those of the runtime's own JavaScript: between, below and above
   * the program's. It costs much more time. Not on Bun.
   */
  readonly nativeFrames?: boolean;
  /**
   * Of malloc's blocks, record one every so many bytes, on average: a whole number from 1, which takes every block (the
   * default), to 2^30; 524288 costs next to nothing. A block is met the likelier the larger it is, and stands for others
   * of its size in statistics, in `traces.length` and in {@linkcode getTracedMemory}, which are unbiased estimates then.
   * {@linkcode getObjectTraceback} knows only blocks that were met.
   */
  readonly sampleBytes?: number;
}

/** Kinds of memory that can be traced today. */
export const tracedDomains: readonly DomainName[] = ["native", "js-heap", "array-buffer", "mmap"];

/** Bytes between samples where nothing else is said: within a few percent for lines that own 10 MB and more. */
const defaultJsInterval = 8192;

/**
 * Starts to trace: from now on every block of memory that the process allocates with `malloc` and its family is recorded
 * with the lines of JavaScript that allocated it. While already tracing it does nothing, and the limit stays.
 *
 * Tracing is the whole process's: threads that allocate are traced too, and a worker's `stop()` stops it for all.
 *
 * Works in a process that was not prepared in any way. Blocks allocated before are not known. On Deno it needs
 * `--allow-ffi` and, where the program was not started by `tracemalloc run`, `--allow-sys` (for the source positions that
 * V8 keeps only when asked to); on Node.js, with the permission model, `--allow-addons`.
 *
 * What the runtime allocates without JavaScript, for work that JavaScript has started (a file that is read, a connection),
 * has the traceback of that start on Deno, where it is known.
 *
 * @example Lines that own the memory
 * ```ts ignore
 * import { start, takeSnapshot } from "@x/tracemalloc";
 *
 * start();
 * const kept = new Uint8Array(1_000_000);
 * console.log(String(takeSnapshot().statistics("lineno")[0]), kept.length);
 * ```
 *
 * @param nframe The most frames a traceback holds: a whole number from 1 to 65535.
 * @param options What to trace.
 * @throws {RangeError} When `nframe` is not a whole number from 1 to 65535.
 * @throws {TypeError} When an option is not known.
 * @throws {UnsupportedError} When the platform, the runtime or a permission does not let it; says what to do.
 */
export function start(nframe = 1, options: StartOptions = {}): void {
  if (typeof nframe !== "number") throw new TypeError(`nframe must be a number, not ${typeof nframe}`);
  if (!Number.isInteger(nframe) || nframe < 1 || nframe > 65535) {
    throw new RangeError(`nframe must be a whole number from 1 to 65535, not ${nframe}`);
  }
  checkOptions(options);
  if (isTracing()) return;
  const opened = open(), joins = isTracingAlready(opened.shim);
  opened.shim.sample(options.sampleBytes ?? 1);
  const result = opened.shim.start(nframe, startFlags(options));
  if (result === Result.noMemory) throw new UnsupportedError("there is no address space left for the tracer's tables");
  if (result === Result.other) {
    throw new UnsupportedError(
      `another copy of this library, ${opened.shim.other()}, has just begun to trace this process: use one of them`,
    );
  }
  if (result !== Result.ok) throw new Error(`the shim did not start (${result})`);
  tracing = { ...opened, starts: startsOf(opened.shim) };
  try {
    traceDomains(tracing, options, joins);
  } catch (error) {
    if (joins) leave(tracing);
    else stop();
    throw error;
  }
}

function startFlags({ nativeFrames = false, domains = ["native"] }: StartOptions): number {
  // Samples of the engine's heap are blocks of malloc: without them, see sampleHeap().
  const mallocs = domains.includes("native") || domains.includes("js-heap");
  return (nativeFrames ? StartFlag.mixed : 0) | (domains.includes("mmap") ? StartFlag.mmap : 0) |
    (mallocs ? 0 : StartFlag.withoutNative);
}

/** By another thread, or by the command line. */
function isTracingAlready(shim: Shim): boolean {
  return (shim.status() & Status.tracing) !== 0;
}

function startsOf(shim: Shim): number {
  return shim.status() >>> Status.starts;
}

/** Begins to trace the domains that are none of the shim's own. */
function traceDomains(
  tracing: Tracing,
  { domains, jsInterval = defaultJsInterval }: StartOptions,
  joins: boolean,
): void {
  const { shim, engine } = tracing, wanted = domains ?? engine.defaultDomains;
  const alone = !joins && wanted.length > 0 && !wanted.includes("native");
  if (wanted.includes("js-heap")) {
    const warn = (why: string) =>
      console.warn(`tracemalloc: objects of the js-heap domain by function, and not by line: ${why}`);
    tracing.heapSampler = muted(shim, () => engine.sampleHeap(jsInterval, alone, warn));
  }
  if (wanted.includes("array-buffer")) tracing.buffers = muted(shim, () => engine.traceBuffers(alone));
  if (alone) shim.clear();
  if (wanted.some((domain) => domain !== "js-heap")) tracing.leaveWorkers = engine.traceWorkers?.(wanted);
}

const optionNames = ["domains", "jsInterval", "sampleBytes", "nativeFrames"];

function checkOptions(options: StartOptions): void {
  if (typeof options !== "object" || options === null) throw new TypeError("options must be an object");
  for (const name of Object.keys(options)) {
    if (!optionNames.includes(name)) {
      const known = optionNames.map((name) => JSON.stringify(name)).join(", ");
      throw new TypeError(`unknown option ${JSON.stringify(name)}; there are ${known}`);
    }
  }
  if (!["boolean", "undefined"].includes(typeof options.nativeFrames)) {
    throw new TypeError(`nativeFrames must be a boolean, not ${typeof options.nativeFrames}`);
  }
  const { domains, jsInterval, sampleBytes } = options;
  if (domains !== undefined) {
    if (!Array.isArray(domains)) throw new TypeError("domains must be an array of names");
    for (const domain of domains) {
      if (tracedDomains.includes(domain)) continue;
      const known = tracedDomains.map((name) => JSON.stringify(name)).join(", ");
      if (domain in Domain) {
        throw new UnsupportedError(`the domain ${JSON.stringify(domain)} cannot be traced here, but ${known}`);
      }
      throw new TypeError(`unknown domain ${JSON.stringify(domain)}; there are ${known}`);
    }
  }
  for (const [name, bytes] of Object.entries({ jsInterval, sampleBytes })) {
    if (bytes === undefined) continue;
    if (typeof bytes !== "number") throw new TypeError(`${name} must be a number, not ${typeof bytes}`);
    if (!isJsInterval(bytes)) {
      throw new RangeError(`${name} must be a whole number from 1 to ${maxJsInterval}, not ${bytes}`);
    }
  }
}

/** The most bytes between samples. */
export const maxJsInterval: number = 2 ** 30;

/** Can it be {@linkcode StartOptions.jsInterval} or {@linkcode StartOptions.sampleBytes}? */
export function isJsInterval(bytes: number): boolean {
  return Number.isInteger(bytes) && bytes >= 1 && bytes <= maxJsInterval;
}

function open(shimPath?: string): Tracing {
  const backend = detectBackend();
  const shim = joinOther(backend, backend.openShim(shimPath));
  // Under `tracemalloc run` the shim is tracing already.
  const engine = muted(shim, () => backend.openEngine(shim));
  if (engine.refusal !== undefined) {
    console.warn(
      `tracemalloc: native frames only, for ${backend.engine} is not laid out as expected: ${engine.refusal}`,
    );
  }
  return { backend, shim, engine, namer: new Namer(engine.originalPositions), starts: startsOf(shim) };
}

/** The process has one tracer: where another copy of this library is it, this one joins. */
function joinOther(backend: Backend, own: Shim): Shim {
  const other = own.other();
  if (other === undefined) return own;
  try {
    return backend.openShim(other);
  } catch (cause) {
    if (!(cause instanceof UnsupportedError)) throw cause;
    throw new UnsupportedError(
      `another copy of this library traces this process already, and this one cannot join it: ${cause.message}`,
      { cause },
    );
  }
}

/** In a process that `tracemalloc run` started with the shim preloaded and tracing: takes over the naming. */
export function joinTracing(shimPath: string, options: StartOptions): void {
  tracing = open(shimPath);
  traceDomains(tracing, options, false);
}

/**
 * Stops, removes what was hooked, and forgets all traces. Does nothing when not tracing.
 *
 * @example
 * ```ts
 * import { isTracing, stop } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * stop();
 * assertEquals(isTracing(), false);
 * ```
 */
export function stop(): void {
  if (!tracing) return;
  tracing.shim.stop();
  leave(tracing);
}

/** This thread has no more to do with it. */
function leave({ heapSampler, engine, buffers, leaveWorkers }: Tracing): void {
  tracing = undefined;
  leaveWorkers?.();
  buffers?.close();
  heapSampler?.close();
  engine.close();
}

/**
 * Is memory being traced?
 *
 * @example
 * ```ts
 * import { isTracing } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(isTracing(), false);
 * ```
 *
 * @returns `true` between {@linkcode start} and {@linkcode stop}, and under `tracemalloc run`.
 */
export function isTracing(): boolean {
  return current() !== undefined;
}

/** What is traced now: the shim is the process's, and another thread can have stopped it, and started it again. */
function current(): Tracing | undefined {
  if (tracing && (!isTracingAlready(tracing.shim) || startsOf(tracing.shim) !== tracing.starts)) leave(tracing);
  return tracing;
}

/** The shim while tracing, for what needs no more than that. */
export function tracingShim(): Shim | undefined {
  return current()?.shim;
}

/** What a traced process has. Throws `NotTracingError` when not tracing. */
export function needTracing(): Tracing {
  const now = current();
  if (!now) {
    throw new NotTracingError(
      "memory is not being traced: call start() first, or run the program with `tracemalloc run`",
    );
  }
  return now;
}

/**
 * Forgets all traces and goes on tracing; the current size and the peak become 0. Does nothing when not tracing.
 *
 * @example
 * ```ts
 * import { clearTraces, getTracedMemory } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * clearTraces();
 * assertEquals(getTracedMemory(), [0, 0]);
 * ```
 */
export function clearTraces(): void {
  const now = current();
  now?.shim.clear();
  now?.heapSampler?.clear();
}

/**
 * The most frames a traceback holds, as given to {@linkcode start}.
 *
 * @example
 * ```ts
 * import { getTracebackLimit, NotTracingError } from "@x/tracemalloc";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => getTracebackLimit(), NotTracingError);
 * ```
 *
 * @returns A whole number from 1 to 65535.
 * @throws {NotTracingError} When not tracing.
 */
export function getTracebackLimit(): number {
  return needTracing().shim.memory()[3];
}

/**
 * The size of the traced blocks now, and the largest it was.
 *
 * The size is exact. The peak is exact while one thread allocates at a time; every other thread can make it wrong by up to
 * 256 KiB.
 *
 * @example
 * ```ts
 * import { getTracedMemory } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * const [current, peak] = getTracedMemory();
 * assertEquals(current <= peak, true);
 * ```
 *
 * @returns The two, in bytes; `[0, 0]` when not tracing.
 */
export function getTracedMemory(): [current: number, peak: number] {
  const [size, peak] = current()?.shim.memory() ?? [0, 0];
  return [size, peak];
}

/**
 * The peak becomes the current size. Does nothing when not tracing.
 *
 * @example
 * ```ts
 * import { getTracedMemory, resetPeak } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * resetPeak();
 * assertEquals(getTracedMemory(), [0, 0]);
 * ```
 */
export function resetPeak(): void {
  current()?.shim.resetPeak();
}

/**
 * The memory that the tracer itself uses for traces.
 *
 * @example
 * ```ts
 * import { getTracemallocMemory } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(getTracemallocMemory(), 0);
 * ```
 *
 * @returns Bytes; 0 when not tracing.
 */
export function getTracemallocMemory(): number {
  return current()?.shim.memory()[2] ?? 0;
}

/**
 * Takes a snapshot of all traced blocks that are in use. Other threads wait while the blocks are copied, and no longer.
 *
 * @example
 * ```ts
 * import { NotTracingError, takeSnapshot } from "@x/tracemalloc";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => takeSnapshot(), NotTracingError);
 * ```
 *
 * @param options What to do before it is taken.
 * @returns The snapshot, which does not change any more.
 * @throws {NotTracingError} When not tracing.
 * @throws {TypeError} When an option is not known.
 */
export function takeSnapshot(options: SnapshotOptions = {}): Snapshot {
  const { shim, engine, heapSampler } = needTracing();
  if (typeof options !== "object" || options === null) throw new TypeError("options must be an object");
  for (const name of Object.keys(options)) {
    if (name !== "gc") throw new TypeError(`unknown option ${JSON.stringify(name)}; there is "gc"`);
  }
  if (options.gc) engine.collectGarbage();
  return muted(shim, () => snapshotOf(takeWholeImage(heapSampler)));
}

/** Options of {@linkcode takeSnapshot}. */
export interface SnapshotOptions {
  /**
   * Collect all garbage in the engine's heap of the calling thread first, so that what is left is in use: objects of the
   * `"js-heap"` domain, and native memory that objects keep. It holds the program up, a heap of 100 MB for about 50 ms.
   */
  readonly gc?: boolean;
}

/** The traceback of the block of a domain that begins at an address; `null` where there is none. */
export function blockTraceback(domain: number, address: bigint): Traceback | null {
  const { shim } = needTracing();
  return muted(shim, () => {
    const { functions: _, ...block } = takeNamedImage(() => shim.snapshotOf(domain, address));
    const snapshot = snapshotOf(block);
    return snapshot.traces.at(0)?.traceback ?? null;
  });
}

/** Takes an image of the tables and names its frames. */
function takeNamedImage(take: () => Uint8Array<ArrayBuffer> | undefined = needTracing().shim.snapshot): TracedImage {
  const tracing = needTracing();
  const createdAt = Date.now();
  tracing.buffers?.settle();
  tracing.engine.nameRecorded();
  const bytes = take();
  if (!bytes) {
    needTracing(); // or another thread has stopped it meanwhile
    throw new NoMemoryError("there is no memory for a snapshot");
  }
  const image = readImage(bytes);
  const names = tracing.namer.name(image);
  const metadata = { ...metadataOf(tracing, createdAt), pid: image.pid };
  const functions = nameFunctions(tracing, image.tracebackLimit);
  return { image, names, metadata, ...(functions && { functions }) };
}

/** The engine's own profile of what it has sampled, where there is no better. */
function nameFunctions({ heapSampler, engine }: Tracing, limit: number): FunctionTraces | undefined {
  if (heapSampler?.noLines === undefined) return undefined;
  const profile = heapSampler.profile();
  return { takenAt: profile?.takenAt, rows: nameProfile(profile?.rows ?? [], limit, engine.originalPositions) };
}

/** The same with what is known by type alone. */
function takeWholeImage(heapSampler: HeapSampler | undefined): TracedImage {
  const types = heapSampler?.types?.();
  return { ...takeNamedImage(), ...(types && { types }) };
}

/** How the shim is to write by itself: see {@linkcode OutputSettings}. */
export type OutputOptions = Omit<OutputSettings, "head">;

/**
 * From now on the shim writes transfers by itself, whose frames have no names yet: when the process ends and no JavaScript
 * can run any more, and as `options` say. Returns one of the shim's results.
 */
export function startOutput(options: OutputOptions): number {
  const tracing = needTracing(), { shim } = tracing;
  return muted(
    shim,
    () => shim.output({ ...options, head: transferHead({ metadata: metadataOf(tracing, Date.now()) }) }),
  );
}

/**
 * Takes an image, and leaves it and the names in a file for {@linkcode readTransfer}; while not tracing, nothing. False:
 * there was no memory for it, of the shim's or of the engine's; the shim can write by itself then.
 */
export function saveTransfer(path: string): boolean {
  const now = current();
  if (!now) return true;
  return muted(now.shim, () => {
    try {
      const traced = takeWholeImage(now.heapSampler);
      now.shim.save(path, transferHead(traced), traced.image.bytes);
      return true;
    } catch (error) {
      if (error instanceof RangeError || error instanceof NoMemoryError) return false;
      throw error;
    }
  });
}

/** {@linkcode saveTransfer} for the last time: the process ends. */
export function saveLastTransfer(path: string): void {
  if (saveTransfer(path)) current()?.shim.outputDone();
}

class NoMemoryError extends Error {}

/** Does what the tracer's own memory is needed for, which is not to be found in the next snapshot. */
function muted<T>(shim: Shim, work: () => T): T {
  shim.mute(true);
  try {
    return work();
  } finally {
    shim.mute(false);
  }
}

function metadataOf({ backend, engine, heapSampler, buffers }: Tracing, createdAt: number): SnapshotMetadata {
  const calibration = new Map(engine.calibration);
  if (engine.refusal !== undefined) calibration.set("refused", engine.refusal);
  if (heapSampler) {
    calibration.set(
      "js-heap",
      heapSampler.types ? "all objects by type, without lines" : `one sample every ${heapSampler.interval} B`,
    );
    if (heapSampler.verified !== undefined) calibration.set("js-heap verified", heapSampler.verified);
    if (heapSampler.noLines !== undefined) {
      calibration.set("js-heap lines", `those where functions begin: ${heapSampler.noLines}`);
    }
    if (heapSampler.state() === "ended") {
      calibration.set("js-heap ended", "someone else stopped the engine's sampling of this thread's objects");
    }
    const threads = heapSampler.unsampledThreads();
    if (threads > 0) calibration.set("js-heap threads not sampled", `${threads}, which did not call start()`);
  }
  if (buffers) calibration.set("array-buffer", "buffers that JavaScript makes, by wrapping what makes them");
  const { runtime, runtimeVersion, platform } = backend;
  return { runtime, runtimeVersion, engine: backend.engine, platform, createdAt, calibration };
}
