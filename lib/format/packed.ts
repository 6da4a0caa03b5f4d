/**
 * Columns of whole numbers as blocks of 128: a base, so many bits a value as most of them need, and the
 * high bits of the few that need more. In "differences" each value is taken relative to the one before.
 * The layout is specified in schema/FORMAT.md.
 */

/** Values in a block. */
export const BLOCK = 128;
/** The widest packed value; what has more bits is an exception. With at most 24, 32-bit arithmetic suffices. */
const MAX_WIDTH = 24;
/** Set in the byte of the width where exceptions follow the packed bits. */
const HAS_EXCEPTIONS = 0x80;

const bits = new Float64Array(BLOCK);
const histogram = new Uint32Array(55);

/** Bytes that grow as they are written. */
export class ByteWriter {
  #bytes = new Uint8Array(4096);
  length = 0;

  /** What was written; valid until more is. */
  get written(): Uint8Array {
    return this.#bytes.subarray(0, this.length);
  }

  /** The buffer, with room for `more` bytes behind `length`. */
  reserve(more: number): Uint8Array {
    const needed = this.length + more;
    if (needed > this.#bytes.length) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#bytes.length));
      grown.set(this.written);
      this.#bytes = grown;
    }
    return this.#bytes;
  }

  clear(): void {
    this.length = 0;
  }
}

/**
 * Appends the values `[start, end)` of a column, whole numbers in [0, 2^53).
 *
 * @param differences Whether to code each value relative to the one before. The spread of the differences in
 *   a block must be less than 2^53; {@link chooseDifferences} sees to that.
 */
export function encodePacked(
  values: Uint32Array | Float64Array,
  start: number,
  end: number,
  differences: boolean,
  out: ByteWriter,
): void {
  let previous = 0;
  for (let i = start; i < end; i += BLOCK) {
    const count = Math.min(BLOCK, end - i);
    let base = Infinity;
    for (let k = 0; k < count; k++) {
      const value = values[i + k]!;
      const bit = differences ? value - previous : value;
      if (differences) previous = value;
      if (bit < base) base = bit;
      bits[k] = bit;
    }
    for (let k = 0; k < count; k++) bits[k]! -= base;
    encodeBlock(count, base, out);
  }
}

/** Whether differences take fewer bits than the values themselves. */
export function chooseDifferences(values: Uint32Array | Float64Array, start: number, end: number): boolean {
  let plain = 0;
  let different = 0;
  let previous = 0;
  for (let i = start; i < end; i++) {
    const value = values[i]!;
    const difference = Math.abs(value - previous);
    if (difference > 2 ** 51) return false;
    plain += bitLength(value);
    different += bitLength(difference);
    previous = value;
  }
  return different < plain;
}

/** Writes what stands in `bits`. */
function encodeBlock(count: number, base: number, out: ByteWriter): void {
  histogram.fill(0);
  let longest = 0;
  for (let k = 0; k < count; k++) {
    const length = bitLength(bits[k]!);
    histogram[length]!++;
    if (length > longest) longest = length;
  }
  const width = cheapestWidth(count, longest);

  // A head, 128 values of 24 bits, and as many exceptions.
  const bytes = out.reserve(16 + 3 * BLOCK + 10 * BLOCK);
  let at = writeSigned(bytes, out.length, base);
  bytes[at++] = width | (longest > width ? HAS_EXCEPTIONS : 0);
  const scale = 2 ** width;
  if (width > 0) {
    const mask = scale - 1;
    let pending = 0;
    let held = 0;
    for (let k = 0; k < count; k++) {
      pending |= (bits[k]! & mask) << held;
      held += width;
      while (held >= 8) {
        bytes[at++] = pending;
        pending >>>= 8;
        held -= 8;
      }
    }
    if (held > 0) bytes[at++] = pending;
  }
  if (longest > width) {
    const countAt = at++;
    let exceptions = 0;
    for (let k = 0; k < count; k++) {
      const high = Math.floor(bits[k]! / scale);
      if (high === 0) continue;
      exceptions++;
      bytes[at++] = k;
      at = writeUnsigned(bytes, at, high);
    }
    bytes[countAt] = exceptions;
  }
  out.length = at;
}

/** The width that makes the block whose `histogram` of lengths is given the shortest. */
function cheapestWidth(count: number, longest: number): number {
  let best = 0;
  let bestCost = Infinity;
  for (let width = Math.min(longest, MAX_WIDTH); width >= 0; width--) {
    let cost = Math.ceil(count * width / 8) + (longest > width ? 1 : 0);
    for (let length = width + 1; length <= longest && cost < bestCost; length++) {
      cost += histogram[length]! * (1 + Math.ceil((length - width) / 7));
    }
    if (cost < bestCost) {
      best = width;
      bestCost = cost;
    }
  }
  return best;
}

/**
 * Reads a column that {@link encodePacked} wrote, or says why it cannot be one.
 *
 * @param into Takes `count` values from its start on.
 * @param max The greatest value that is right.
 * @returns `null`, or what is wrong with the bytes.
 */
export function decodePacked(
  bytes: Uint8Array,
  count: number,
  differences: boolean,
  into: Uint32Array | Float64Array,
  max: number,
): string | null {
  let at = 0;
  let previous = 0;
  for (let i = 0; i < count; i += BLOCK) {
    const block = Math.min(BLOCK, count - i);
    at = readVarint(bytes, at);
    if (at < 0) return "a base is cut or too great";
    const base = readSign === 0 ? readValue : 0 - readValue; // never -0
    if (at >= bytes.length) return "a block is cut";
    const head = bytes[at++]!;
    const width = head & ~HAS_EXCEPTIONS;
    if (width > MAX_WIDTH) return `a width of ${width} bits, at most ${MAX_WIDTH} are allowed`;
    const end = at + Math.ceil(block * width / 8);
    if (end > bytes.length) return "packed bits are cut";
    if (head === 0 && !differences) {
      if (!(base >= 0 && base <= max)) return `${base} is not in [0, ${max}]`;
      into.fill(base, i, i + block);
      continue;
    }
    unpack(bytes, at, block, width, base);
    at = end;
    if (head !== width) {
      at = readExceptions(bytes, at, block, 2 ** width);
      if (at < 0) return "exceptions are cut or out of order";
    }
    if (differences) addUp(block, previous);
    const wrong = firstBeyond(block, max);
    if (wrong >= 0) return `${bits[wrong]} is not in [0, ${max}]`;
    previous = bits[block - 1]!;
    // At once: storing one by one into arrays of different types is slow on JavaScriptCore.
    into.set(block === BLOCK ? bits : bits.subarray(0, block), i);
  }
  return at === bytes.length ? null : `${bytes.length - at} bytes too many`;
}

// What is done to every value stands in functions of its own: engines compile them after a few blocks, not a few files.

/** Sets `bits` to values of `width` bits, each above `base`. */
function unpack(bytes: Uint8Array, start: number, count: number, width: number, base: number): void {
  if (width === 0) {
    bits.fill(base, 0, count);
    return;
  }
  const mask = 2 ** width - 1;
  let at = start;
  let pending = 0;
  let held = 0;
  for (let k = 0; k < count; k++) {
    while (held < width) {
      pending |= bytes[at++]! << held;
      held += 8;
    }
    bits[k] = base + (pending & mask);
    pending >>>= width;
    held -= width;
  }
}

/** Turns the differences in `bits` into values, of which the one before is given. */
function addUp(count: number, before: number): void {
  let value = before;
  for (let k = 0; k < count; k++) bits[k] = value += bits[k]!;
}

/** The first of `bits` that is not in [0, max], or -1. */
function firstBeyond(count: number, max: number): number {
  for (let k = 0; k < count; k++) {
    const value = bits[k]!;
    if (!(value >= 0 && value <= max)) return k;
  }
  return -1;
}

/** Adds the high bits to what stands in `bits`; returns where they end, or -1 where they are wrong. */
function readExceptions(bytes: Uint8Array, at: number, block: number, scale: number): number {
  if (at >= bytes.length) return -1;
  const exceptions = bytes[at++]!;
  if (exceptions === 0) return -1;
  let next = 0;
  for (let e = 0; e < exceptions; e++) {
    if (at >= bytes.length) return -1;
    const k = bytes[at++]!;
    if (k < next || k >= block) return -1;
    next = k + 1;
    at = readVarint(bytes, at, false);
    if (at < 0 || readValue === 0) return -1;
    bits[k]! += readValue * scale;
  }
  return at;
}

/** What {@link readVarint} found last; a pair of numbers cannot be returned without making an object. */
let readValue = 0;
let readSign = 0;

/** Reads a variable-length number below 2^53, with a sign in its lowest bit or without; returns its end, or -1. */
function readVarint(bytes: Uint8Array, at: number, signed = true): number {
  let value = 0;
  let scale = 1;
  for (let k = 0;; k++) {
    if (at >= bytes.length || k === 8) return -1;
    let byte = bytes[at++]!;
    const more = byte & 0x80;
    byte &= 0x7f;
    if (k === 0 && signed) {
      readSign = byte & 1;
      value = byte >> 1;
      scale = 64;
    } else {
      value += byte * scale;
      scale *= 128;
    }
    if (!more) break;
  }
  if (value > Number.MAX_SAFE_INTEGER) return -1;
  readValue = value;
  return at;
}

function writeSigned(bytes: Uint8Array, at: number, value: number): number {
  const size = Math.abs(value);
  const rest = Math.floor(size / 64);
  bytes[at] = (size % 64) << 1 | (value < 0 ? 1 : 0) | (rest > 0 ? 0x80 : 0);
  return rest > 0 ? writeUnsigned(bytes, at + 1, rest) : at + 1;
}

function writeUnsigned(bytes: Uint8Array, at: number, value: number): number {
  while (value >= 0x80) {
    bytes[at++] = value % 128 | 0x80;
    value = Math.floor(value / 128);
  }
  bytes[at++] = value;
  return at;
}

/** How many bits a whole number below 2^54 has. */
function bitLength(value: number): number {
  return value < 0x1_0000_0000 ? 32 - Math.clz32(value) : 64 - Math.clz32(value / 0x1_0000_0000);
}
