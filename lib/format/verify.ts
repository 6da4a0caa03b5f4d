import { RECORD_HEAD } from "./limits.ts";

/**
 * Checks that the offsets and lengths of a FlatBuffers message stay inside it, so that the generated
 * accessors can be used on it; the library for TypeScript has no verifier.
 *
 * No part may be referred to twice: a message of a few bytes could otherwise spell out any amount of data.
 */

/** A field of a table, by the order of the schema. A number is the size of a scalar in bytes. */
type Field = 1 | 2 | 4 | 8 | "bytes" | "string" | { table: readonly Field[] } | { tables: readonly Field[] };

const column: readonly Field[] = [1, "bytes"];
const property: readonly Field[] = ["string", "string"];
const attribution: readonly Field[] = ["string", 8, 8];
const header: readonly Field[] = [2, "string"];
const metadata: readonly Field[] = [
  4,
  "string",
  "string",
  "string",
  "string",
  4,
  8,
  { tables: property },
  { tables: attribution },
];
const strings: readonly Field[] = [4, { table: column }, { table: column }, "bytes"];
const pair: readonly Field[] = [4, { table: column }, { table: column }];
const traces: readonly Field[] = [4, { table: column }, { table: column }, { table: column }, { table: column }];
const footer: readonly Field[] = [4, 4, 4, 4, 8, 8, 8];
const message: readonly Field[] = [
  { table: header },
  { table: metadata },
  { table: strings },
  { table: pair },
  { table: pair },
  { table: pair },
  { table: traces },
  { table: footer },
];

/**
 * Says what is wrong with the structure of a message, or `null` where nothing is.
 *
 * @param view The message alone.
 */
export function verifyMessage(view: DataView): string | null {
  if (view.byteLength < RECORD_HEAD) return "it is too short";
  const root = view.getUint32(0, true);
  const verifier = new Verifier(view);
  return verifier.table(root, message) ? null : verifier.fault;
}

class Verifier {
  readonly #view: DataView;
  /** Bytes that may still be claimed by tables and vectors. */
  #unclaimed: number;
  fault = "";

  constructor(view: DataView) {
    this.#view = view;
    this.#unclaimed = view.byteLength;
  }

  /** Sizes of 2^15 or more are not used: the library reads them as negative. */
  table(at: number, fields: readonly Field[]): boolean {
    const view = this.#view;
    if (!this.#inside(at, 4)) return this.#bad(at, "a table");
    const vtable = at - view.getInt32(at, true);
    if (!this.#inside(vtable, 4)) return this.#bad(vtable, "a vtable");
    const vtableSize = view.getUint16(vtable, true);
    const size = view.getUint16(vtable + 2, true);
    if (vtableSize < 4 || vtableSize > 0x7fff || vtableSize % 2 !== 0 || !this.#inside(vtable, vtableSize)) {
      return this.#bad(vtable, "the size of a vtable");
    }
    if (size < 4 || size > 0x7fff || !this.#claim(at, size)) return this.#bad(at, "the size of a table");
    for (let i = 0; i < fields.length && 4 + 2 * i < vtableSize; i++) {
      const offset = view.getUint16(vtable + 4 + 2 * i, true);
      if (offset === 0) continue;
      const field = fields[i]!;
      if (offset < 4 || offset + (typeof field === "number" ? field : 4) > size) {
        return this.#bad(vtable + 4 + 2 * i, "the place of a field");
      }
      if (typeof field !== "number" && !this.#reference(at + offset, field)) return false;
    }
    return true;
  }

  #reference(at: number, field: Exclude<Field, number>): boolean {
    const target = at + this.#view.getUint32(at, true);
    if (typeof field === "object" && "table" in field) return this.table(target, field.table);
    if (!this.#inside(target, 4)) return this.#bad(at, "the offset of a vector");
    const length = this.#view.getUint32(target, true);
    const elementSize = typeof field === "object" ? 4 : 1;
    if (!this.#claim(target, 4 + elementSize * length)) return this.#bad(target, "the length of a vector");
    if (typeof field !== "object") return true;
    for (let i = 0; i < length; i++) {
      const element = target + 4 + 4 * i;
      if (!this.table(element + this.#view.getUint32(element, true), field.tables)) return false;
    }
    return true;
  }

  #inside(at: number, size: number): boolean {
    return at >= 0 && at + size <= this.#view.byteLength;
  }

  #claim(at: number, size: number): boolean {
    this.#unclaimed -= size;
    return this.#unclaimed >= 0 && this.#inside(at, size);
  }

  #bad(at: number, what: string): boolean {
    this.fault = `${what} at byte ${at} of it is wrong`;
    return false;
  }
}
