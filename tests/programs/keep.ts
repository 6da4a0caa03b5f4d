/** What a program allocates at its marks stays in use until it ends: here. */
const kept: unknown[] = [];
Object.assign(globalThis, { kept });

/** Keeps a value, and gives it back. */
export function keep<T>(value: T): T {
  kept.push(value);
  return value;
}
