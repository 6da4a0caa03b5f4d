import { crc32 } from "../../lib/format/crc32.ts";

/** A record of a file: where it starts, and its message. */
export interface RawRecord {
  readonly offset: number;
  readonly message: Uint8Array;
}

/** The records of a whole file, found without the reader. */
export function recordsOf(file: Uint8Array): RawRecord[] {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const records: RawRecord[] = [];
  for (let at = 8; at < file.length - 16;) {
    const length = view.getUint32(at, true);
    records.push({ offset: at, message: file.subarray(at + 8, at + 8 + length) });
    at += 8 + length;
  }
  return records;
}

/** A file of messages, with lengths, checksums and trailer as they should be; the last message is the footer. */
export function fileOf(messages: readonly Uint8Array[]): Uint8Array {
  const magic = Uint8Array.of(0x89, 0x54, 0x4d, 0x53, 0x31, 0x0d, 0x0a, 0x1a);
  const length = messages.reduce((sum, message) => sum + 8 + message.length, 8 + 16);
  const file = new Uint8Array(length);
  const view = new DataView(file.buffer);
  file.set(magic);
  let at = 8;
  let footer = at;
  for (const message of messages) {
    footer = at;
    view.setUint32(at, message.length, true);
    view.setUint32(at + 4, crc32(message), true);
    file.set(message, at + 8);
    at += 8 + message.length;
  }
  view.setBigUint64(at, BigInt(footer), true);
  file.set(magic, at + 8);
  return file;
}
