import { ByteBuffer } from "flatbuffers";
import type { Damage } from "../model/codec.ts";
import { SnapshotFormatError } from "../model/errors.ts";
import { crc32 } from "./crc32.ts";
import { Message } from "./generated/message.ts";
import { ALIGNMENT, MAGIC, MAGIC_MAJOR, MAX_MESSAGE, RECORD_HEAD, TRAILER } from "./limits.ts";
import { verifyMessage } from "./verify.ts";

/** A message whose checksum and structure are right; its bytes are valid until the next one is asked for. */
export interface FramedMessage {
  /** Where its record starts in the file. */
  readonly offset: number;
  readonly message: Message;
}

/**
 * Takes a file apart into its messages, piece by piece: `push` what comes, take every {@link next}
 * until it is `null`, and so on; at last {@link end}.
 *
 * Holds no more than one message beside the piece given last.
 */
export class ContainerParser {
  /** What was pushed and not used: `#bytes[#start, #end)`. */
  #bytes: Uint8Array = new Uint8Array(0);
  #start = 0;
  #end = 0;
  /** Whether `#bytes` is ours to write to. */
  #own = false;
  #offset = 0;
  #state: "magic" | "records" | "trailer" | "done" = "magic";
  #footerOffset = 0;
  readonly #partial: boolean;
  /** Where a partial reading had to stop. */
  damage: Damage | null = null;

  /** @param partial Whether to stop quietly at the first cut or damaged record. */
  constructor(partial: boolean) {
    this.#partial = partial;
  }

  /** How much of the file was used; where `#start` is in it. */
  get offset(): number {
    return this.#offset;
  }

  /** Adds bytes; they must stay as they are until {@link next} has returned `null`. */
  push(chunk: Uint8Array): void {
    if (this.damage !== null) return;
    const pending = this.#end - this.#start;
    if (pending === 0) {
      this.#bytes = chunk;
      this.#own = false;
      this.#start = 0;
      this.#end = chunk.length;
      return;
    }
    if (!this.#own || this.#end + chunk.length > this.#bytes.length) {
      const needed = pending + chunk.length;
      const roomy = this.#own && needed <= this.#bytes.length / 2;
      const target = roomy ? this.#bytes : new Uint8Array(2 * needed);
      target.set(this.#bytes.subarray(this.#start, this.#end));
      this.#bytes = target;
      this.#own = true;
      this.#start = 0;
      this.#end = pending;
    }
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  /** The next message, or `null` where more bytes are needed or the file is over. */
  next(): FramedMessage | null {
    const framed = this.#take();
    if (framed === null && !this.#own) {
      this.#bytes = this.#bytes.slice(this.#start, this.#end);
      this.#own = true;
      this.#start = 0;
      this.#end = this.#bytes.length;
    }
    return framed;
  }

  #take(): FramedMessage | null {
    if (this.#state === "magic" && !this.#takeMagic()) return null;
    if (this.#state === "records") return this.#takeRecord();
    if (this.#state === "trailer") this.#takeTrailer();
    if (this.#state === "done" && this.#end > this.#start && this.damage === null) {
      this.#damaged("the end of the file", `${this.#end - this.#start} bytes or more`);
    }
    return null;
  }

  /** Says that there are no more bytes. */
  end(): void {
    if (this.#state === "done" || this.damage !== null) return;
    if (this.#state === "magic") {
      throw new SnapshotFormatError(
        `not a snapshot file: it should begin with the ${MAGIC.length} bytes of the magic, but it is ` +
          `${this.#end - this.#start} bytes long; give a file that a dump has written`,
        0,
      );
    }
    const what = this.#state === "trailer" ? `${TRAILER} bytes behind the footer` : "more messages and a footer";
    this.#damaged(what, `the end of the file after ${this.#end - this.#start} bytes`);
  }

  #takeMagic(): boolean {
    const available = this.#end - this.#start;
    const start = this.#bytes.subarray(this.#start, this.#start + Math.min(available, MAGIC.length));
    const wrong = start.findIndex((byte, i) => byte !== MAGIC[i] && i !== MAGIC_MAJOR);
    if (wrong >= 0) {
      throw new SnapshotFormatError(
        `not a snapshot file: byte ${wrong} of the magic should be ${hex(MAGIC[wrong]!)} and is ` +
          `${hex(start[wrong]!)}; give a file that a dump has written, copied without changing it`,
        wrong,
      );
    }
    if (available < MAGIC.length) return false;
    const major = start[MAGIC_MAJOR]!;
    if (major !== MAGIC[MAGIC_MAJOR]) {
      throw new SnapshotFormatError(
        `the snapshot is in major version ${versionName(major)} of the format and this library reads version ` +
          `${versionName(MAGIC[MAGIC_MAJOR]!)}; use the version of the library that wrote it, or a newer one`,
        MAGIC_MAJOR,
      );
    }
    this.#advance(MAGIC.length);
    this.#state = "records";
    return true;
  }

  #takeRecord(): FramedMessage | null {
    const available = this.#end - this.#start;
    if (available < RECORD_HEAD || this.damage !== null) return null;
    const head = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.#start, RECORD_HEAD);
    const length = head.getUint32(0, true);
    if (length === 0 || length % ALIGNMENT !== 0 || length > MAX_MESSAGE) {
      this.#damaged(`the length of a message, a multiple of ${ALIGNMENT} up to ${MAX_MESSAGE}`, `${length}`);
      return null;
    }
    if (available < RECORD_HEAD + length) return null;
    const from = this.#start + RECORD_HEAD;
    const bytes = this.#bytes.subarray(from, from + length);
    const checksum = head.getUint32(4, true);
    const actual = crc32(bytes);
    if (checksum !== actual) {
      this.#damaged(`a message with the checksum ${hex(checksum)}`, `one with ${hex(actual)}`);
      return null;
    }
    const offset = this.#offset;
    const fault = verifyMessage(new DataView(bytes.buffer, bytes.byteOffset, length));
    if (fault !== null) throw badMessage(offset, fault);
    const message = Message.getRootAsMessage(new ByteBuffer(bytes));
    if (message.footer() !== null) {
      this.#state = "trailer";
      this.#footerOffset = offset;
    }
    this.#advance(RECORD_HEAD + length);
    return { offset, message };
  }

  #takeTrailer(): void {
    if (this.#end - this.#start < TRAILER) return;
    const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset + this.#start, TRAILER);
    const footerOffset = view.getBigUint64(0, true);
    if (footerOffset !== BigInt(this.#footerOffset)) {
      this.#damaged(`the footer's offset ${this.#footerOffset}`, `${footerOffset}`);
      return;
    }
    if (!MAGIC.every((byte, i) => view.getUint8(8 + i) === byte)) {
      this.#damaged("the magic at the end of the file", "other bytes");
      return;
    }
    this.#advance(TRAILER);
    this.#state = "done";
  }

  #advance(bytes: number): void {
    this.#start += bytes;
    this.#offset += bytes;
  }

  #damaged(expected: string, found: string): void {
    const offset = this.#offset;
    const text = `at byte ${offset} there should be ${expected}, but there is ${found}`;
    if (this.#partial) {
      this.damage = { offset, text };
      return;
    }
    throw new SnapshotFormatError(
      `the snapshot is cut or damaged: ${text}; dump it again, or ask for what is whole (partial)`,
      offset,
    );
  }
}

/** The error for a message that is whole but wrong. */
export function badMessage(offset: number, fault: string): SnapshotFormatError {
  return new SnapshotFormatError(
    `the message at byte ${offset} of the snapshot is wrong: ${fault}; dump it again, and if that does not help ` +
      `report how the file was made`,
    offset,
  );
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(2, "0")}`;
}

function versionName(byte: number): string {
  return byte > 0x20 && byte < 0x7f ? String.fromCharCode(byte) : hex(byte);
}
