/** The same values in an array of at least `length`, twice as long where it must be another one. */
export function growUint8(values: Uint8Array, length: number): Uint8Array {
  return length <= values.length ? values : copyInto(new Uint8Array(newLength(values.length, length)), values);
}

/** The same values in an array of at least `length`, twice as long where it must be another one. */
export function growUint32(values: Uint32Array, length: number): Uint32Array {
  return length <= values.length ? values : copyInto(new Uint32Array(newLength(values.length, length)), values);
}

/** The same values in an array of at least `length`, twice as long where it must be another one. */
export function growFloat64(values: Float64Array, length: number): Float64Array {
  return length <= values.length ? values : copyInto(new Float64Array(newLength(values.length, length)), values);
}

function newLength(old: number, wanted: number): number {
  // The first growth is exact: a snapshot in memory comes in one piece.
  return Math.max(wanted, 2 * old);
}

function copyInto<T extends Uint8Array | Uint32Array | Float64Array>(target: T, values: T): T {
  target.set(values);
  return target;
}
