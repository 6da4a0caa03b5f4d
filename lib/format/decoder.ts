import { Encoding as StringEncoding } from "flatbuffers";
import type { AttributionCount, SnapshotMetadata } from "../model/columns.ts";
import type { TraceRows } from "../model/fold_rows.ts";
import { badMessage, type FramedMessage } from "./container.ts";
import type { Column } from "./generated/column.ts";
import type { Footer } from "./generated/footer.ts";
import type { Frames } from "./generated/frames.ts";
import type { Metadata } from "./generated/metadata.ts";
import type { Nodes } from "./generated/nodes.ts";
import type { Strings } from "./generated/strings.ts";
import type { Tracebacks } from "./generated/tracebacks.ts";
import type { Traces } from "./generated/traces.ts";
import { Encoding, MAX_BATCH_COUNT, MAX_BATCH_STRINGS, MAX_FRAMES, MAX_STRING } from "./limits.ts";
import { decodePacked } from "./packed.ts";
import { decodeUtf8, decodeWtf8 } from "./wtf8.ts";

/** What a message of a snapshot holds. Numbers in it refer to entries of the file so far, itself included. */
export type SnapshotBatch =
  | { readonly kind: "metadata"; readonly tracebackLimit: number; readonly metadata: SnapshotMetadata }
  | { readonly kind: "strings"; readonly values: readonly string[] }
  | { readonly kind: "frames"; readonly filename: Uint32Array; readonly lineno: Uint32Array }
  | { readonly kind: "nodes"; readonly parent: Uint32Array; readonly frame: Uint32Array }
  | { readonly kind: "tracebacks"; readonly node: Uint32Array; readonly total: Uint32Array }
  | ({ readonly kind: "traces" } & TraceRows);

/** How much of everything a snapshot holds. */
export interface SnapshotTotals {
  strings: number;
  frames: number;
  /** Nodes of the prefix tree, without its root. */
  nodes: number;
  tracebacks: number;
  /** Rows of traces; each can stand for several alike blocks. */
  rows: number;
  blocks: number;
  /** Bytes of the blocks. */
  bytes: number;
}

const MAX_UINT32 = 0xffff_ffff;

/** Turns messages into batches, checking every number in them against what came before. */
export class BatchDecoder {
  readonly totals: SnapshotTotals = { strings: 0, frames: 0, nodes: 0, tracebacks: 0, rows: 0, blocks: 0, bytes: 0 };
  #hasHeader = false;
  #hasMetadata = false;
  /** How many frames every node stands for. */
  #depth = new Uint16Array(1024);
  /** The most frames that a traceback of the file has. */
  deepest = 0;

  /** The batch of a message, or `null` where it has none: the header, the footer, and what is not known. */
  decode({ offset, message }: FramedMessage): SnapshotBatch | null {
    const at = new Place(offset);
    const header = message.header();
    const metadata = message.metadata();
    const strings = message.strings();
    const frames = message.frames();
    const nodes = message.nodes();
    const tracebacks = message.tracebacks();
    const traces = message.traces();
    const footer = message.footer();
    const parts = [header, metadata, strings, frames, nodes, tracebacks, traces, footer];
    const known = parts.filter((part) => part !== null).length;
    if (known > 1) at.fail(`it should have one content and has ${known}`);
    if ((header !== null) === this.#hasHeader) {
      at.fail(this.#hasHeader ? "a second header" : "the first message should be a header");
    }
    this.#hasHeader = true;
    if (metadata !== null) return this.#metadata(metadata, at);
    if (strings !== null) return this.#strings(strings, at);
    if (frames !== null) return this.#frames(frames, at);
    if (nodes !== null) return this.#nodes(nodes, at);
    if (tracebacks !== null) return this.#tracebacks(tracebacks, at);
    if (traces !== null) return this.#traces(traces, at);
    if (footer !== null) this.#footer(footer, at);
    return null;
  }

  #metadata(table: Metadata, at: Place): SnapshotBatch {
    if (this.#hasMetadata) at.fail("a second metadata message");
    this.#hasMetadata = true;
    const tracebackLimit = table.tracebackLimit();
    if (tracebackLimit > MAX_FRAMES) {
      at.fail(`a traceback limit of ${tracebackLimit}, which should be in [0, ${MAX_FRAMES}]`);
    }
    const metadata: { -readonly [K in keyof SnapshotMetadata]: SnapshotMetadata[K] } = {};
    const text = (bytes: string | Uint8Array | null) => (bytes === null ? undefined : at.utf8(bytes as Uint8Array));
    const runtime = text(table.runtime(asBytes));
    if (runtime !== undefined) metadata.runtime = runtime;
    const runtimeVersion = text(table.runtimeVersion(asBytes));
    if (runtimeVersion !== undefined) metadata.runtimeVersion = runtimeVersion;
    const engine = text(table.engine(asBytes));
    if (engine !== undefined) metadata.engine = engine;
    const platform = text(table.platform(asBytes));
    if (platform !== undefined) metadata.platform = platform;
    const pid = table.pid();
    if (pid !== null) metadata.pid = pid;
    const createdAt = table.createdAt();
    if (createdAt !== null) {
      if (!Number.isFinite(createdAt)) at.fail(`a time of ${createdAt}`);
      metadata.createdAt = createdAt;
    }
    if (table.calibrationLength() > 0) {
      const calibration = new Map<string, string>();
      for (let i = 0; i < table.calibrationLength(); i++) {
        const property = table.calibration(i)!;
        calibration.set(text(property.name(asBytes)) ?? "", text(property.value(asBytes)) ?? "");
      }
      metadata.calibration = calibration;
    }
    if (table.attributionLength() > 0) {
      const attribution: AttributionCount[] = [];
      for (let i = 0; i < table.attributionLength(); i++) {
        const row = table.attribution(i)!;
        const blocks = row.blocks();
        const bytes = row.bytes();
        if (!(blocks >= 0 && bytes >= 0)) at.fail(`an attribution of ${blocks} blocks and ${bytes} bytes`);
        attribution.push({ reason: text(row.reason(asBytes)) ?? "", blocks, bytes });
      }
      metadata.attribution = attribution;
    }
    return { kind: "metadata", tracebackLimit, metadata };
  }

  #strings(table: Strings, at: Place): SnapshotBatch {
    const count = at.count(table.count());
    const prefix = new Uint32Array(count);
    const suffix = new Uint32Array(count);
    at.integers(table.prefix(), "prefix", prefix, MAX_STRING);
    at.integers(table.suffix(), "suffix", suffix, MAX_STRING);
    const bytes = table.bytesArray() ?? new Uint8Array(0);
    const values: string[] = [];
    let spelled = 0;
    let from = 0;
    let current = new Uint8Array(256);
    let length = 0;
    for (let i = 0; i < count; i++) {
      const shared = prefix[i]!;
      const own = suffix[i]!;
      if (shared > length) at.fail(`string ${i} shares ${shared} bytes with one of ${length}`);
      if (from + own > bytes.length) at.fail(`the bytes of string ${i} are cut`);
      length = shared + own;
      spelled += length;
      if (length > MAX_STRING || (count > 1 && spelled > MAX_BATCH_STRINGS)) {
        at.fail(`strings of ${spelled} bytes, at most ${count > 1 ? MAX_BATCH_STRINGS : MAX_STRING} are allowed`);
      }
      if (length > current.length) {
        const grown = new Uint8Array(2 * length);
        grown.set(current);
        current = grown;
      }
      current.set(bytes.subarray(from, from + own), shared);
      from += own;
      const value = decodeWtf8(current.subarray(0, length));
      if (value === null) at.fail(`string ${i} is not WTF-8`);
      values.push(value);
    }
    if (from !== bytes.length) at.fail(`${bytes.length - from} bytes of strings too many`);
    this.totals.strings = at.sum(this.totals.strings, count);
    return { kind: "strings", values };
  }

  #frames(table: Frames, at: Place): SnapshotBatch {
    const count = at.count(table.count());
    const filename = new Uint32Array(count);
    const lineno = new Uint32Array(count);
    at.references(table.filename(), "filename", filename, this.totals.strings);
    at.integers(table.lineno(), "lineno", lineno, MAX_UINT32);
    this.totals.frames = at.sum(this.totals.frames, count);
    return { kind: "frames", filename, lineno };
  }

  #nodes(table: Nodes, at: Place): SnapshotBatch {
    const count = at.count(table.count());
    const parent = new Uint32Array(count);
    const frame = new Uint32Array(count);
    const first = this.totals.nodes + 1;
    at.integers(table.parentDistance(), "parent_distance", parent, MAX_UINT32);
    at.references(table.frame(), "frame", frame, this.totals.frames);
    this.totals.nodes = at.sum(this.totals.nodes, count);
    if (this.totals.nodes >= this.#depth.length) {
      const grown = new Uint16Array(2 * (this.totals.nodes + 1));
      grown.set(this.#depth);
      this.#depth = grown;
    }
    for (let i = 0; i < count; i++) {
      const distance = parent[i]!;
      const node = first + i;
      if (distance < 1 || distance > node) at.fail(`node ${node} extends the one ${distance} before it`);
      parent[i] = node - distance;
      const depth = this.#depth[node - distance]! + 1;
      if (depth > MAX_FRAMES) at.fail(`node ${node} stands for ${depth} frames, at most ${MAX_FRAMES} are allowed`);
      this.#depth[node] = depth;
    }
    return { kind: "nodes", parent, frame };
  }

  #tracebacks(table: Tracebacks, at: Place): SnapshotBatch {
    const count = at.count(table.count());
    const node = new Uint32Array(count);
    const total = new Uint32Array(count);
    at.references(table.node(), "node", node, this.totals.nodes + 1);
    at.integers(table.total(), "total", total, MAX_UINT32);
    for (let i = 0; i < count; i++) this.deepest = Math.max(this.deepest, this.#depth[node[i]!]!);
    this.totals.tracebacks = at.sum(this.totals.tracebacks, count);
    return { kind: "tracebacks", node, total };
  }

  #traces(table: Traces, at: Place): SnapshotBatch {
    const rows = at.count(table.count());
    const domain = new Uint32Array(rows);
    const size = new Float64Array(rows);
    const count = new Float64Array(rows);
    const traceback = new Uint32Array(rows);
    at.integers(table.domain(), "domain", domain, MAX_UINT32);
    at.integers(table.size(), "size", size, Number.MAX_SAFE_INTEGER);
    at.weights(table.blocks(), "blocks", count);
    at.references(table.traceback(), "traceback", traceback, this.totals.tracebacks);
    const { totals } = this;
    let { blocks, bytes } = totals;
    for (let i = 0; i < rows; i++) {
      blocks += count[i]!;
      bytes += count[i]! * size[i]!;
    }
    if (!(bytes < Infinity && blocks < Infinity)) at.fail(`traces of ${bytes} bytes in ${blocks} blocks`);
    totals.rows += rows;
    totals.blocks = blocks;
    totals.bytes = bytes;
    return { kind: "traces", domain, size, count, traceback };
  }

  #footer(table: Footer, at: Place): void {
    const stated: SnapshotTotals = {
      strings: table.strings(),
      frames: table.frames(),
      nodes: table.nodes(),
      tracebacks: table.tracebacks(),
      rows: Number(table.rows()),
      blocks: table.blocks(),
      bytes: table.bytes(),
    };
    for (const name of Object.keys(stated) as (keyof SnapshotTotals)[]) {
      if (stated[name] !== this.totals[name]) {
        at.fail(`the footer counts ${stated[name]} ${name}, but there are ${this.totals[name]}`);
      }
    }
    if (!this.#hasMetadata) at.fail("there was no metadata before the footer");
  }
}

/** Makes the generated accessors give the bytes of a string as they are. */
const asBytes = StringEncoding.UTF8_BYTES;

/** Where in the file something is decoded, and the checks that need to say so. */
class Place {
  readonly #offset: number;

  constructor(offset: number) {
    this.#offset = offset;
  }

  fail(fault: string): never {
    throw badMessage(this.#offset, fault);
  }

  count(count: number): number {
    if (count < 1 || count > MAX_BATCH_COUNT) {
      this.fail(`a batch of ${count} entries, it should have 1 to ${MAX_BATCH_COUNT}`);
    }
    return count;
  }

  /** Adds to a number of entries, which are referred to with 32 bits. */
  sum(before: number, count: number): number {
    if (before + count > MAX_UINT32) this.fail(`more than ${MAX_UINT32} entries of a kind`);
    return before + count;
  }

  integers(column: Column | null, name: string, into: Uint32Array | Float64Array, max: number): void {
    if (column === null) this.fail(`no column "${name}"`);
    const encoding = column.encoding();
    if (encoding !== Encoding.packed && encoding !== Encoding.packedDifferences) {
      this.fail(`column "${name}" has the encoding ${encoding}, which is not one for whole numbers`);
    }
    const bytes = column.dataArray() ?? new Uint8Array(0);
    const fault = decodePacked(bytes, into.length, encoding === Encoding.packedDifferences, into, max);
    if (fault !== null) this.fail(`column "${name}": ${fault}`);
  }

  /** Numbers of entries, of which there are `entries`. */
  references(column: Column | null, name: string, into: Uint32Array, entries: number): void {
    if (entries === 0) this.fail(`column "${name}" refers to what the file does not have`);
    this.integers(column, name, into, entries - 1);
  }

  /** Numbers of blocks: finite and greater than 0, whole or not. */
  weights(column: Column | null, name: string, into: Float64Array): void {
    if (column?.encoding() === Encoding.float64) {
      const bytes = column.dataArray() ?? new Uint8Array(0);
      if (bytes.length !== 8 * into.length) this.fail(`column "${name}" has ${bytes.length} bytes`);
      const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
      for (let i = 0; i < into.length; i++) into[i] = view.getFloat64(8 * i, true);
    } else {
      this.integers(column, name, into, Number.MAX_SAFE_INTEGER);
    }
    for (let i = 0; i < into.length; i++) {
      const weight = into[i]!;
      if (!(weight > 0 && weight < Infinity)) this.fail(`row ${i} stands for ${weight} blocks`);
    }
  }

  utf8(bytes: Uint8Array): string {
    const text = decodeUtf8(bytes);
    if (text === null) this.fail("a text is not UTF-8");
    return text;
  }
}
