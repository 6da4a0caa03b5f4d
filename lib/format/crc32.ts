/** CRC-32 as in zlib, PNG and Ethernet: polynomial 0xEDB88320, reflected, all ones before and after. */

/** `tables[k * 256 + b]`: what byte `b` does to the remainder `k` bytes further on. */
const tables = makeTables();

/**
 * The CRC-32 of some bytes.
 *
 * @returns A whole number in [0, 2^32).
 */
export function crc32(bytes: Uint8Array): number {
  const t = tables;
  const length = bytes.length;
  let crc = -1;
  let i = 0;
  // Eight bytes a step: about seven times as fast as one.
  for (; i + 8 <= length; i += 8) {
    crc ^= bytes[i]! | bytes[i + 1]! << 8 | bytes[i + 2]! << 16 | bytes[i + 3]! << 24;
    crc = t[1792 + (crc & 255)]! ^ t[1536 + (crc >>> 8 & 255)]! ^ t[1280 + (crc >>> 16 & 255)]! ^
      t[1024 + (crc >>> 24)]! ^ t[768 + bytes[i + 4]!]! ^ t[512 + bytes[i + 5]!]! ^ t[256 + bytes[i + 6]!]! ^
      t[bytes[i + 7]!]!;
  }
  for (; i < length; i++) crc = t[(crc ^ bytes[i]!) & 255]! ^ crc >>> 8;
  return ~crc >>> 0;
}

function makeTables(): Int32Array {
  const t = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ crc >>> 1 : crc >>> 1;
    t[byte] = crc;
  }
  for (let i = 256; i < t.length; i++) t[i] = t[t[i - 256]! & 255]! ^ t[i - 256]! >>> 8;
  return t;
}
