/** Single blocks: where an object's memory comes from, and memory that is traced by hand. */
import { Domain } from "../model/domain.ts";
import { TracemallocError } from "../model/errors.ts";
import type { Traceback } from "../model/traceback.ts";
import { Result } from "./abi.ts";
import { blockTraceback, needTracing, tracingShim } from "./tracing.ts";

/**
 * Where the memory of an object was allocated.
 *
 * Of a buffer or a view on one that is where its bytes were. Of other objects and functions it is known, on Deno and Node.js, where the
 * domain `"js-heap"` has met them: with `jsInterval: 1` all that were made since, by this thread. It takes a look at every
 * object that is known.
 *
 * @example
 * ```ts
 * import { getObjectTraceback } from "@x/tracemalloc";
 * import { assertEquals } from "@std/assert";
 *
 * // Nothing is known of what was allocated while not tracing.
 * assertEquals(getObjectTraceback(new Uint8Array(8)), null);
 * ```
 *
 * @param x An object or a function, or where a native block begins: an address, or the runtime's pointer object.
 * @returns The traceback, or `null`: it was not traced when it was allocated, or tracing is off.
 * @throws {TypeError} When `x` is none of these.
 */
export function getObjectTraceback(
  x: ArrayBufferLike | ArrayBufferView | bigint | number | object,
): Traceback | null {
  const shim = tracingShim();
  if (typeof x === "bigint" || typeof x === "number") {
    const address = toAddress(x);
    return shim ? tracebackAt(address) : null;
  }
  if ((typeof x !== "object" && typeof x !== "function") || x === null) {
    throw new TypeError(
      `expected an object, a function, a pointer or an address, not ${x === null ? "null" : typeof x}`,
    );
  }
  if (!shim) return null;
  const memory = ArrayBuffer.isView(x) ? x.buffer : x;
  const number = needTracing().buffers?.numberOf(memory);
  if (number !== undefined) return blockTraceback(Domain["array-buffer"], number);
  const address = shim.addressOf(memory);
  if (address !== undefined) return tracebackAt(address);
  const record = needTracing().heapSampler?.recordOf(x);
  return record === undefined ? null : blockTraceback(Domain["js-heap"], BigInt(record));
}

/** Of a block, or of a mapping where those are traced. */
function tracebackAt(address: bigint): Traceback | null {
  return blockTraceback(Domain.native, address) ?? blockTraceback(Domain.mmap, address);
}

/**
 * Traces memory by hand that `malloc` did not allocate: a mapping, a device's memory, a pool's block. The traceback is the
 * caller's. Memory that is tracked already gets the new size and traceback.
 *
 * Native libraries have the same as a C function of the shim, `tracemalloc_track()`.
 *
 * @example
 * ```ts
 * import { NotTracingError, track } from "@x/tracemalloc";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => track(16, 0x1000n, 4096), NotTracingError);
 * ```
 *
 * @param domain Whose memory it is: numbers from 16 to 2^32 − 1 are the user's.
 * @param address Where it begins; with the domain, what tells it from other memory.
 * @param size Bytes.
 * @throws {NotTracingError} When not tracing.
 * @throws {RangeError} When an argument is out of range.
 */
export function track(domain: number, address: bigint | number, size: bigint | number): void {
  const [number, start] = [toDomain(domain), toAddress(address)];
  if (typeof size === "number" ? !Number.isSafeInteger(size) : size > Number.MAX_SAFE_INTEGER) {
    throw new RangeError(`size must be a whole number up to 2^53 - 1, not ${size}`);
  }
  if (size < 0) throw new RangeError(`size must not be negative, and is ${size}`);
  const result = needTracing().shim.track(number, start, BigInt(size));
  if (result !== Result.ok) throw new TracemallocError("there is no memory left for the trace", "NO_MEMORY");
}

/**
 * Forgets memory that {@linkcode track} was told of; nothing where it was not.
 *
 * @example
 * ```ts
 * import { NotTracingError, untrack } from "@x/tracemalloc";
 * import { assertThrows } from "@std/assert";
 *
 * assertThrows(() => untrack(16, 0x1000n), NotTracingError);
 * ```
 *
 * @param domain The domain given to {@linkcode track}.
 * @param address The address given to it.
 * @throws {NotTracingError} When not tracing.
 * @throws {RangeError} When an argument is out of range.
 */
export function untrack(domain: number, address: bigint | number): void {
  const [number, start] = [toDomain(domain), toAddress(address)];
  needTracing().shim.untrack(number, start);
}

function toDomain(domain: number): number {
  if (!Number.isInteger(domain) || domain < 0 || domain > 0xffff_ffff) {
    throw new RangeError(`domain must be a whole number from 0 to 2^32 - 1, not ${domain}`);
  }
  return domain;
}

function toAddress(address: bigint | number): bigint {
  if (typeof address === "number" ? !Number.isSafeInteger(address) : BigInt.asUintN(64, address) !== address) {
    throw new RangeError(`an address must be a whole number below 2^64, not ${address}`);
  }
  if (address < 0) throw new RangeError(`an address must not be negative, and is ${address}`);
  return BigInt(address);
}
