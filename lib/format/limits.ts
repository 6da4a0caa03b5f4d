/** What the format fixes; each number is explained in schema/FORMAT.md. */

/** `\x89 T M S 1 \r \n \x1a`: not text, not broken by a change of line ends, and the major version as a digit. */
export const MAGIC: Uint8Array = Uint8Array.of(0x89, 0x54, 0x4d, 0x53, 0x31, 0x0d, 0x0a, 0x1a);
/** Where in the magic the major version stands. */
export const MAGIC_MAJOR = 4;
/** The minor version that the writer writes. */
export const MINOR_VERSION = 0;

/** Bytes before a message: its length and its checksum. */
export const RECORD_HEAD = 8;
/** Bytes after the footer: its offset and the magic. */
export const TRAILER = 16;
/** Messages are as long as a multiple of this many bytes. */
export const ALIGNMENT = 8;
/** The longest message that a reader takes. */
export const MAX_MESSAGE: number = 2 ** 25;
/** The most entries in a batch. */
export const MAX_BATCH_COUNT: number = 2 ** 16;
/** The most bytes that the strings of a batch may take once they are spelled out, unless it is a single string. */
export const MAX_BATCH_STRINGS: number = 2 ** 20;
/** The longest file name, in bytes. */
export const MAX_STRING: number = 2 ** 24;
/** The most frames in a traceback, and the greatest limit of them. */
export const MAX_FRAMES: number = 0xffff;

/** How the bytes of a column are coded. */
export const Encoding = { packed: 0, packedDifferences: 1, float64: 2 } as const;
