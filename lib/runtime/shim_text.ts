/** Text to the shim and from it, on every runtime. */

/** As C has it, with a zero at its end. */
export function cString(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${text}\0`);
}

/** What a function of the shim writes into as many bytes as it is told of; it returns how many it has used. */
export function writtenText(write: (into: Uint8Array<ArrayBuffer>, bytes: number) => number | bigint): string {
  const bytes = new Uint8Array(8192);
  return new TextDecoder().decode(bytes.subarray(0, Number(write(bytes, bytes.length))));
}
