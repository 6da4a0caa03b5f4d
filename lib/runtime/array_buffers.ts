/**
 * The array-buffer domain: where the allocator of the runtime cannot be traced, what makes buffers for JavaScript is
 * wrapped while tracing: each does what it did, and notes the buffer that is new. A buffer is forgotten when the collector
 * has found it dead, or when its bytes are given away.
 */
import process from "node:process";
import { Domain } from "../model/domain.ts";
import type { BufferTracer } from "./backend.ts";
import { type Callable, originalOf, type Place, putInPlace, wrapConstructor, wrapFunction } from "./wrapping.ts";

/** The shim's functions for it (shim/tracemalloc.h). */
export interface TrackingShim {
  trackNumber(domain: number, number: number, size: number): void;
  untrackNumber(domain: number, number: number): void;
  here(): number | bigint;
  trackNumberFrom(here: number | bigint, domain: number, number: number, size: number): void;
  jscOwn(domain: number, first: number, last: number): void;
}

/** What of Bun's own is used; `peek()` looks at a promise without being one of those that handle it. */
interface Bun {
  readonly peek: {
    (promise: Promise<unknown>): unknown;
    status(promise: Promise<unknown>): "pending" | "fulfilled" | "rejected";
  };
}

type Memory = ArrayBufferLike;

/** Taken before a program can change them. */
const { ArrayBuffer, Buffer, FinalizationRegistry, Promise, Reflect, setTimeout, SharedArrayBuffer, WeakMap } =
  globalThis;
const { apply, getOwnPropertyDescriptor, getPrototypeOf, setPrototypeOf } = Reflect;
const { isView } = ArrayBuffer;
const { isArray } = Array;
const TypedArray = getPrototypeOf(Uint8Array) as { readonly prototype: object };
const getter = (of: object, name: string) => getOwnPropertyDescriptor(of, name)!.get!;
const bufferOfArray = getter(TypedArray.prototype, "buffer");
const bufferOfData = getter(DataView.prototype, "buffer");
const tagOfArray = getter(TypedArray.prototype, Symbol.toStringTag as never);
const bytesOf = getter(ArrayBuffer.prototype, "byteLength");
const bytesOfShared = getter(SharedArrayBuffer.prototype, "byteLength");

/** The bytes of a buffer; `undefined`: it is none. */
function sizeOf(x: unknown): number | undefined {
  if (typeof x !== "object" || x === null) return undefined;
  try {
    return apply(bytesOf, x, []) as number;
  } catch {
    try {
      return apply(bytesOfShared, x, []) as number;
    } catch {
      return undefined;
    }
  }
}

function bufferOfView(view: object): Memory {
  return apply(apply(tagOfArray, view, []) === undefined ? bufferOfData : bufferOfArray, view, []) as Memory;
}

/** The buffer that something is, or is a view on. */
function bufferOf(x: unknown): Memory | undefined {
  if (isView(x)) return bufferOfView(x);
  return sizeOf(x) === undefined ? undefined : x as Memory;
}

/** A map and a registry that work whatever becomes of their prototypes. */
function makeNumbers(): WeakMap<object, number> {
  const { get, set, delete: remove } = WeakMap.prototype;
  return Object.assign(new WeakMap<object, number>(), { get, set, delete: remove });
}

function makeRegistry(cleanup: (number: number) => void): FinalizationRegistry<number> {
  const { register } = FinalizationRegistry.prototype;
  return Object.assign(new FinalizationRegistry<number>(cleanup), { register });
}

const domain = Domain["array-buffer"];

/** Buffers go by numbers of their thread's. */
const numbersOfThread = 2 ** 36;

/** The buffers of this thread that are known; numbers are never given out again. */
const numbers = makeNumbers();
const registry = makeRegistry((number) => tracking?.untrackNumber(domain, number));
const first = (process.getBuiltinModule("node:worker_threads").threadId + 1) * numbersOfThread;
let next = first;

/** While tracing. */
let tracking: TrackingShim | undefined;

/** Notes a buffer, unless it is known; `here`: where it was asked for, if not here. */
function note(buffer: Memory, size: number, here?: number | bigint): void {
  if (tracking === undefined || numbers.get(buffer) !== undefined) return;
  const number = next++;
  numbers.set(buffer, number);
  if (here === undefined) tracking.trackNumber(domain, number, size);
  else tracking.trackNumberFrom(here, domain, number, size);
  registry.register(buffer, number);
}

/** Notes what a function has made, unless it is made of what it was given. */
function noteMade(made: unknown, given: readonly unknown[], here?: number | bigint): void {
  const buffer = bufferOf(made);
  if (buffer === undefined) return;
  for (const one of given) if (one === buffer || (isView(one) && bufferOfView(one) === buffer)) return;
  note(buffer, sizeOf(buffer)!, here);
}

/** Its bytes are gone or others, as after a `realloc`. */
function noteChange(buffer: unknown): void {
  const size = sizeOf(buffer), number = size === undefined ? undefined : numbers.get(buffer as Memory);
  if (number === undefined) return;
  if (size === 0) tracking?.untrackNumber(domain, number);
  else tracking?.trackNumber(domain, number, size!);
}

/** What was given away for good: a list, or an option with one. */
function noteGiven(transfer: unknown): void {
  const list: unknown = isArray(transfer) ? transfer : (transfer as { transfer?: unknown } | undefined)?.transfer;
  if (isArray(list)) { for (let i = 0; i < list.length; i++) noteChange(list[i]); }
}

/** A constructor of buffers, or of views that make a buffer when they are given none. */
function wrapMaker(original: Callable, isBuffer: boolean): Callable {
  if (isBuffer) return wrapConstructor(original, { after: (made) => note(made as Memory, sizeOf(made)!) });
  return wrapConstructor(original, {
    after(made, args) {
      const buffer = apply(bufferOfArray, made, []) as Memory;
      if (buffer !== args[0]) note(buffer, sizeOf(buffer)!);
    },
  });
}

type After = (result: unknown, args: readonly unknown[], self: unknown) => void;

/** A function, with something to be done after each call of it while tracing. */
function wrap(original: Callable, after: After): Callable {
  return wrapFunction(original, () => undefined, (result, args, self) => {
    if (tracking !== undefined) after(result, args, self);
  });
}

/** Promises of buffers, with where these were asked for. */
let promised: {
  readonly promise: Promise<unknown>;
  readonly given: readonly unknown[];
  readonly here: number | bigint;
}[] = [];

/** How often promises are looked at, in milliseconds, while there are any. */
const promiseInterval = 4;

/** Notes the buffers of promises that are kept by now. */
function settle(): void {
  const { peek } = (globalThis as unknown as { Bun: Bun }).Bun;
  promised = promised.filter(({ promise, given, here }) => {
    const status = peek.status(promise);
    if (status === "fulfilled") noteMade(peek(promise), given, here);
    return status === "pending";
  });
  if (tracking === undefined) promised = [];
}

function settleSoon(): void {
  const timer = setTimeout(() => {
    settle();
    if (promised.length > 0) settleSoon();
  }, promiseInterval);
  (timer as { unref?(): void }).unref?.();
}

/** A function that promises a buffer: it is charged to where that was asked for. */
function wrapPromising(original: Callable): Callable {
  return wrapFunction(original, () => tracking?.here() ?? 0, (result, args, _self, here) => {
    if (!here) return;
    if (result instanceof Promise) {
      if (promised.length === 0) settleSoon();
      promised.push({ promise: result, given: args, here });
    } else {
      noteMade(result, args);
    }
  });
}

/** What is put in place while tracing; made once, for programs keep it. */
let places: Place[] | undefined;

function makePlaces(): Place[] {
  const made: Place[] = [];
  const add = (
    owner: object | undefined,
    names: readonly string[],
    wrap: (original: Callable, name: string) => Callable,
  ) => {
    for (const name of owner === undefined ? [] : names) {
      const original: unknown = getOwnPropertyDescriptor(owner!, name)?.value;
      if (typeof original !== "function") continue;
      // Two names of one function stay two names of one.
      const known = made.find(({ proxy }) => originalOf(proxy) === original)?.proxy;
      made.push({ owner: owner!, name, proxy: known ?? wrap(original as Callable, name) });
    }
  };
  const arrays = [
    ...["Int8Array", "Uint8Array", "Uint8ClampedArray", "Int16Array", "Uint16Array", "Int32Array", "Uint32Array"],
    ...["Float16Array", "Float32Array", "Float64Array", "BigInt64Array", "BigUint64Array"],
  ];
  const buffers = ["ArrayBuffer", "SharedArrayBuffer"];
  add(globalThis, [...buffers, ...arrays], (original, name) => wrapMaker(original, buffers.includes(name)));
  for (const { proxy } of [...made]) add(originalOf(proxy).prototype as object, ["constructor"], () => proxy);
  const makes = (original: Callable) => wrap(original, (result, args, self) => noteMade(result, [self, ...args]));
  const changes = (original: Callable) => wrap(original, (_result, _args, self) => noteChange(self));
  const transfers = (original: Callable) =>
    wrap(original, (result, _args, self) => {
      noteChange(self);
      noteMade(result, []);
    });
  add(Buffer, ["alloc", "allocUnsafe", "allocUnsafeSlow", "from", "concat", "copyBytesFrom"], makes);
  add(Uint8Array, ["fromBase64", "fromHex"], makes);
  add(TypedArray.prototype, ["toReversed", "toSorted", "with"], makes);
  add(ArrayBuffer.prototype, ["slice"], makes);
  add(ArrayBuffer.prototype, ["transfer", "transferToFixedLength"], transfers);
  add(ArrayBuffer.prototype, ["resize"], changes);
  add(SharedArrayBuffer.prototype, ["slice"], makes);
  add(SharedArrayBuffer.prototype, ["grow"], changes);
  add(globalThis.TextEncoder?.prototype, ["encode"], makes);
  add(globalThis, ["structuredClone"], (original) =>
    wrap(original, (result, args) => {
      noteGiven(args[1]);
      noteMade(result, args);
    }));
  const posts = (original: Callable) => wrap(original, (_result, args) => noteGiven(args[1]));
  for (const owner of [globalThis, Worker.prototype, MessagePort.prototype]) add(owner, ["postMessage"], posts);
  for (const kind of [Response, Request, Blob]) add(kind?.prototype, ["arrayBuffer", "bytes"], wrapPromising);
  const fs = process.getBuiltinModule("node:fs"), zlib = process.getBuiltinModule("node:zlib");
  add(fs, ["readFileSync"], makes);
  add(fs.promises, ["readFile"], wrapPromising);
  const packers = ["gzip", "gunzip", "deflate", "inflate", "deflateRaw", "inflateRaw", "unzip"];
  const all = [...packers, "brotliCompress", "brotliDecompress", "zstdCompress", "zstdDecompress"];
  add(zlib, all.map((name) => `${name}Sync`), makes);
  add(process.getBuiltinModule("node:crypto"), [
    ...["randomBytes", "scryptSync", "pbkdf2Sync", "hkdfSync"],
  ], makes);
  add((globalThis as unknown as { Bun: object }).Bun, [
    ...["gzipSync", "gunzipSync", "deflateSync", "inflateSync", "zstdCompressSync", "zstdDecompressSync"],
  ], makes);
  return made;
}

/** Puts the wrappers in place: from now on the buffers that this thread makes are traced. */
export function traceArrayBuffers(shim: TrackingShim): BufferTracer {
  places ??= makePlaces();
  shim.jscOwn(domain, first, first + numbersOfThread - 1);
  const putBack = putInPlace(places);
  // `Buffer` is a class that extends one of them.
  const parent = getPrototypeOf(Buffer), proxy = places.find(({ proxy }) => originalOf(proxy) === parent)?.proxy;
  const adopted = proxy !== undefined && setPrototypeOf(Buffer, proxy);
  tracking = shim;
  return {
    numberOf(memory) {
      const number = numbers.get(memory);
      return number === undefined ? undefined : BigInt(number);
    },
    settle,
    close() {
      tracking = undefined;
      if (adopted) setPrototypeOf(Buffer, parent);
      putBack();
    },
  };
}
