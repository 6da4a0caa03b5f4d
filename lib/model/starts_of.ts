/** Where the first value of each key stands among values that are sorted by key, from how many each key has. */
export function startsOf(counts: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  let start = 0;
  return counts.map((count) => (start += count) - count);
}
