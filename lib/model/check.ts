/** Line numbers, domains and numbers of frames fit in a column of 32 bits. */
export const maxUint32 = 0xffff_ffff;

/** The most frames that a traceback can be limited to, as in CPython. */
export const maxFrames = 0xffff;

/** The greatest size of a block: up to here all whole numbers can be told apart. */
export const maxSize: number = 2 ** 53 - 1;

/** Throws unless `value` is a string. */
export function checkString(name: string, value: unknown): asserts value is string {
  if (typeof value !== "string") throw new TypeError(`${name} must be a string, not ${describe(value)}`);
}

/** Throws unless `value` is a whole number from 0 to `max`. */
export function checkWhole(name: string, value: unknown, max: number): asserts value is number {
  checkNumber(name, value);
  if (!Number.isInteger(value) || value < 0 || value > max) {
    throw new RangeError(`${name} must be a whole number from 0 to ${max}, not ${value}`);
  }
}

/** Throws unless `value` is a finite number. */
export function checkFinite(name: string, value: unknown): asserts value is number {
  checkNumber(name, value);
  if (!Number.isFinite(value)) throw new RangeError(`${name} must be finite, not ${value}`);
}

/** Throws unless `value` is a boolean. */
export function checkBoolean(name: string, value: unknown): asserts value is boolean {
  if (typeof value !== "boolean") throw new TypeError(`${name} must be a boolean, not ${describe(value)}`);
}

/** What a value is, for an error text; `String(value)` can throw. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  if (typeof value !== "object") return typeof value;
  const { name } = value.constructor ?? {};
  return typeof name === "string" && name !== "" ? name : "object";
}

function checkNumber(name: string, value: unknown): asserts value is number {
  if (typeof value !== "number") throw new TypeError(`${name} must be a number, not ${describe(value)}`);
}
