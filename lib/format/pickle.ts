/**
 * Reads the files that CPython's `tracemalloc.Snapshot.dump` writes: pickles of protocol 4 or 5.
 *
 * A pickle is a program for a machine with a stack and a memo. This one knows only the instructions that such a file
 * needs, and only the values: whole numbers, texts, `None`, frames `(filename, lineno)`, tracebacks (tuples of frames,
 * the most recent first), traces `(domain, size, traceback[, total])`, one sequence of traces, and the two objects
 * `tracemalloc.Snapshot` and `tracemalloc._Traces` with their attributes. Whatever else stands there is refused;
 * nothing is looked up, called or run.
 *
 * Values are a kind and a number, most of them numbers in the tables of the snapshot that comes of it. What is held
 * grows with the file, but no object is made for a trace.
 *
 * @module
 */
import type { SnapshotColumns } from "../model/columns.ts";
import { Dictionary } from "../model/dictionary.ts";
import { SnapshotFormatError } from "../model/errors.ts";
import { growFloat64, growUint32, growUint8 } from "../model/grow.ts";
import { PairTable } from "../model/pair_table.ts";
import { MAX_FRAMES, MAX_STRING } from "./limits.ts";
import { decodeWtf8 } from "./wtf8.ts";

/** The kinds of values, and what the number of each is. */
const Kind = {
  none: 0,
  /** The whole number itself. */
  integer: 1,
  /** In `#texts`. */
  text: 2,
  /** In the dictionary. */
  frame: 3,
  /** A tuple of frames: a node in the dictionary. The empty tuple is node 0. */
  traceback: 4,
  /** A row. */
  trace: 5,
  /** The sequence of traces; there is one. */
  traces: 6,
  /** In `#attributes`. */
  attributes: 7,
  /** In `classes`. */
  class: 8,
  /** That of the class with this number; there is one of each. */
  object: 9,
} as const;

/** Names of the kinds. */
const kinds = [
  "None",
  "a whole number",
  "a text",
  "a frame",
  "a tuple of frames",
  "a trace",
  "a sequence of traces",
  "a dictionary",
  "a class",
  "an object",
];

/** The classes that a snapshot needs, and the attributes of their objects. */
const classes: readonly { readonly name: string; readonly attributes: Readonly<Record<string, number>> }[] = [
  { name: "tracemalloc.Snapshot", attributes: { traces: Kind.object, traceback_limit: Kind.integer } },
  { name: "tracemalloc._Traces", attributes: { _traces: Kind.traces } },
];
const SNAPSHOT = 0;
const TRACES = 1;

/** Names of the instructions, as in CPython's pickletools; those that {@link Machine.step} does not know, too. */
const instructions = new Map<number, string>(
  ("( MARK, . STOP, 0 POP, 1 POP_MARK, 2 DUP, F FLOAT, I INT, J BININT, K BININT1, L LONG, M BININT2, N NONE, " +
    "P PERSID, Q BINPERSID, R REDUCE, S STRING, T BINSTRING, U SHORT_BINSTRING, V UNICODE, X BINUNICODE, a APPEND, " +
    "b BUILD, c GLOBAL, d DICT, } EMPTY_DICT, e APPENDS, g GET, h BINGET, i INST, j LONG_BINGET, l LIST, " +
    "] EMPTY_LIST, o OBJ, p PUT, q BINPUT, r LONG_BINPUT, s SETITEM, t TUPLE, ) EMPTY_TUPLE, u SETITEMS, " +
    "G BINFLOAT, B BINBYTES, C SHORT_BINBYTES, \x80 PROTO, \x81 NEWOBJ, \x82 EXT1, \x83 EXT2, \x84 EXT4, " +
    "\x85 TUPLE1, \x86 TUPLE2, \x87 TUPLE3, \x88 NEWTRUE, \x89 NEWFALSE, \x8a LONG1, \x8b LONG4, " +
    "\x8c SHORT_BINUNICODE, \x8d BINUNICODE8, \x8e BINBYTES8, \x8f EMPTY_SET, \x90 ADDITEMS, \x91 FROZENSET, " +
    "\x92 NEWOBJ_EX, \x93 STACK_GLOBAL, \x94 MEMOIZE, \x95 FRAME, \x96 BYTEARRAY8, \x97 NEXT_BUFFER, " +
    "\x98 READONLY_BUFFER")
    .split(", ").map((entry) => [entry.charCodeAt(0), entry.slice(2)]),
);

/**
 * Reads a snapshot that CPython wrote.
 *
 * @param chunks The bytes of the file; each piece must stay as it is only until the next is asked for.
 * @throws {SnapshotFormatError} Where the file is cut, or anything else than a snapshot of CPython's.
 */
export function readPickle(chunks: Iterable<Uint8Array>): SnapshotColumns {
  const machine = new Machine(new Bytes(chunks));
  machine.start();
  while (machine.step());
  return machine.columns();
}

function pickleError(offset: number, fault: string): SnapshotFormatError {
  return new SnapshotFormatError(
    `not a snapshot that CPython wrote: at byte ${offset}, ${fault}; give a file that Python's ` +
      "tracemalloc.Snapshot.dump has written",
    offset,
  );
}

class Machine {
  readonly #bytes: Bytes;
  /** Where the instruction begins that is carried out. */
  #at = 0;
  readonly #stack = new Values();
  readonly #memo = new Values();
  /** How long the stack was at each mark. */
  readonly #marks: number[] = [];

  readonly #texts: string[] = [];
  readonly #dictionary = new Dictionary();
  /** Numbers in the dictionary, plus 1, of texts that are file names; 0 where that is not known yet. */
  #filenames: Uint32Array = new Uint32Array(16);
  /** Nodes where tracebacks end, and totals. */
  readonly #tracebacks = new PairTable();
  #rows = 0;
  #domain: Uint32Array = new Uint32Array(16);
  #size: Float64Array = new Float64Array(16);
  #traceback: Uint32Array = new Uint32Array(16);
  /** The rows of the sequence of traces; `undefined` as long as there is none. */
  #sequence: Uint32Array | undefined;
  #sequenceLength = 0;
  readonly #attributes: Map<string, { readonly kind: number; readonly number: number }>[] = [];
  /** The attributes of every object; `null` where it has none yet, `undefined` where it is not there yet. */
  readonly #objects: (Map<string, { readonly kind: number; readonly number: number }> | null | undefined)[] = [];

  constructor(bytes: Bytes) {
    this.#bytes = bytes;
  }

  /** Reads what every pickle begins with. */
  start(): void {
    const code = this.#bytes.byte();
    if (code !== 0x80) this.#fail(`there should be the protocol of a pickle (0x80), but there is ${hex(code)}`);
    const protocol = this.#bytes.byte();
    if (protocol !== 4 && protocol !== 5) this.#fail(`the protocol should be 4 or 5 and is ${protocol}`);
  }

  /** Carries out the next instruction; false where it was the last one. */
  step(): boolean {
    const bytes = this.#bytes;
    const stack = this.#stack;
    this.#at = bytes.offset;
    const code = bytes.byte();
    switch (code) {
      case 0x95: // FRAME: how much can be read at once, which is nothing to us.
        bytes.integer(8);
        break;
      case 0x4b: // BININT1
        stack.push(Kind.integer, bytes.byte());
        break;
      case 0x4d: // BININT2
        stack.push(Kind.integer, bytes.integer(2));
        break;
      case 0x4a: // BININT
        stack.push(Kind.integer, bytes.integer(4) | 0);
        break;
      case 0x8a: // LONG1
        this.#long(bytes.byte());
        break;
      case 0x4e: // NONE
        stack.push(Kind.none, 0);
        break;
      case 0x8c: // SHORT_BINUNICODE
        this.#text(bytes.byte());
        break;
      case 0x58: // BINUNICODE
        this.#text(bytes.integer(4));
        break;
      case 0x8d: // BINUNICODE8
        this.#text(bytes.integer(8));
        break;
      case 0x94: // MEMOIZE
        this.#need(1);
        this.#memo.push(stack.kind(0), stack.number(0));
        break;
      case 0x68: // BINGET
        this.#get(bytes.byte());
        break;
      case 0x6a: // LONG_BINGET
        this.#get(bytes.integer(4));
        break;
      case 0x28: // MARK
        this.#marks.push(stack.length);
        break;
      case 0x29: // EMPTY_TUPLE
        this.#tuple(0);
        break;
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        this.#tuple(code - 0x84);
        break;
      case 0x74: // TUPLE
        this.#tuple(this.#takeMark());
        break;
      case 0x5d: // EMPTY_LIST
        this.#startSequence();
        stack.push(Kind.traces, 0);
        break;
      case 0x61: // APPEND
        this.#appendToList(1);
        break;
      case 0x65: // APPENDS
        this.#appendToList(this.#takeMark());
        break;
      case 0x7d: // EMPTY_DICT
        if (this.#attributes.length === classes.length) this.#fail("there is a dictionary that no snapshot has");
        stack.push(Kind.attributes, this.#attributes.push(new Map()) - 1);
        break;
      case 0x73: // SETITEM
        this.#setItems(2);
        break;
      case 0x75: // SETITEMS
        this.#setItems(this.#takeMark());
        break;
      case 0x93: // STACK_GLOBAL
        this.#class();
        break;
      case 0x81: // NEWOBJ
        this.#object();
        break;
      case 0x62: // BUILD
        this.#build();
        break;
      case 0x2e: // STOP
        this.#stop();
        return false;
      default:
        this.#fail(`there is the instruction ${instructions.get(code) ?? hex(code)}, which no snapshot needs`);
    }
    return true;
  }

  /** The snapshot, once all is read. */
  columns(): SnapshotColumns {
    const rows = this.#sequence!.subarray(0, this.#sequenceLength);
    return {
      tracebackLimit: this.#objects[SNAPSHOT]!.get("traceback_limit")!.number,
      ...this.#dictionary.columns(),
      tracebackNode: this.#tracebacks.first.slice(0, this.#tracebacks.length),
      tracebackTotal: this.#tracebacks.second.slice(0, this.#tracebacks.length),
      traceDomain: rows.map((row) => this.#domain[row]!),
      traceSize: Float64Array.from(rows, (row) => this.#size[row]!),
      traceCount: new Float64Array(rows.length).fill(1),
      traceTraceback: rows.map((row) => this.#traceback[row]!),
    };
  }

  #fail(fault: string): never {
    throw pickleError(this.#at, fault);
  }

  /** Refuses to take more values than stand above the last mark. */
  #need(count: number): void {
    if (this.#stack.length - (this.#marks.at(-1) ?? 0) < count) {
      this.#fail(`an instruction needs ${count} values, and there are less`);
    }
  }

  /** Takes the last mark away; gives how many values stand above it. */
  #takeMark(): number {
    const mark = this.#marks.pop();
    if (mark === undefined) this.#fail("an instruction needs a mark, and there is none");
    return this.#stack.length - mark;
  }

  /** The number of the value at a depth below the top of the stack, which must be of a kind. */
  #expect(depth: number, kind: number, what: string): number {
    const found = this.#stack.kind(depth);
    if (found !== kind) this.#fail(`${what} should be ${kinds[kind]} and is ${kinds[found]}`);
    return this.#stack.number(depth);
  }

  #expectInteger(depth: number, most: number, what: string): number {
    const value = this.#expect(depth, Kind.integer, what);
    if (!(value >= 0 && value <= most)) this.#fail(`${what} should be from 0 to ${most} and is ${value}`);
    return value;
  }

  #long(length: number): void {
    // Up to 2^64, of which 2^53 are taken where they are used.
    if (length > 9) this.#fail(`a whole number has ${length} bytes`);
    const bytes = this.#bytes.take(length);
    let value = 0;
    for (let i = length - 1; i >= 0; i--) value = value * 256 + bytes[i]!;
    this.#stack.push(Kind.integer, length > 0 && bytes[length - 1]! >= 0x80 ? value - 256 ** length : value);
  }

  #text(length: number): void {
    if (length > MAX_STRING) this.#fail(`a text has ${length} bytes, and at most ${MAX_STRING} are read`);
    const text = decodeWtf8(this.#bytes.take(length));
    // Python can tell two lone halves of a character from the character; JavaScript cannot.
    if (text === null) this.#fail("a text is not UTF-8 with surrogates, each half of a pair by itself");
    this.#stack.push(Kind.text, this.#texts.push(text) - 1);
  }

  #get(index: number): void {
    const depth = this.#memo.length - 1 - index;
    if (depth < 0) this.#fail(`an instruction needs value ${index} of the memo, which has ${this.#memo.length}`);
    this.#stack.push(this.#memo.kind(depth), this.#memo.number(depth));
  }

  /** Puts a tuple in the place of the values that it is made of. */
  #tuple(count: number): void {
    this.#need(count);
    const stack = this.#stack;
    const first = count === 0 ? Kind.frame : stack.kind(count - 1);
    let kind: number = Kind.traceback;
    let number = 0;
    if (first === Kind.frame) {
      number = this.#frames(count);
    } else if (first === Kind.text && count === 2) {
      kind = Kind.frame;
      number = this.#frame();
    } else if (first === Kind.integer && (count === 3 || count === 4)) {
      kind = Kind.trace;
      number = this.#trace(count);
    } else if (first === Kind.trace) {
      kind = Kind.traces;
      this.#startSequence();
      this.#append(count);
    } else {
      this.#fail(`a tuple of ${count} values of which the first is ${kinds[first]} is no part of a snapshot`);
    }
    stack.drop(count);
    stack.push(kind, number);
  }

  #frame(): number {
    const text = this.#stack.number(1);
    const lineno = this.#expectInteger(0, 0xffff_ffff, "a line");
    this.#filenames = growUint32(this.#filenames, text + 1);
    const filename = this.#filenames[text]! || this.#dictionary.filename(this.#texts[text]!) + 1;
    this.#filenames[text] = filename;
    return this.#dictionary.frame(filename - 1, lineno);
  }

  /** The node of a tuple of frames, of which the last is the oldest. */
  #frames(count: number): number {
    if (count > MAX_FRAMES) this.#fail(`a traceback has ${count} frames, and at most ${MAX_FRAMES} are read`);
    let node = 0;
    for (let depth = 0; depth < count; depth++) {
      node = this.#dictionary.node(node, this.#expect(depth, Kind.frame, "what is in a traceback"));
    }
    return node;
  }

  /** The row of a trace: domain, size, traceback, and since Python 3.9 how many frames the whole stack had. */
  #trace(count: number): number {
    const domain = this.#expectInteger(count - 1, 0xffff_ffff, "a domain");
    const size = this.#expectInteger(count - 2, Number.MAX_SAFE_INTEGER, "a size");
    const node = this.#expect(count - 3, Kind.traceback, "the traceback of a trace");
    const isKnown = count === 4 && this.#stack.kind(0) !== Kind.none;
    const total = isKnown ? this.#expectInteger(0, 0xffff_fffe, "a number of frames") + 1 : 0;
    const row = this.#rows++;
    this.#domain = growUint32(this.#domain, row + 1);
    this.#size = growFloat64(this.#size, row + 1);
    this.#traceback = growUint32(this.#traceback, row + 1);
    this.#domain[row] = domain;
    this.#size[row] = size;
    this.#traceback[row] = this.#tracebacks.intern(node, total);
    return row;
  }

  #startSequence(): void {
    if (this.#sequence !== undefined) this.#fail("there is a second sequence of traces");
    this.#sequence = new Uint32Array(16);
  }

  /** Adds the topmost values to the sequence of traces. */
  #append(count: number): void {
    const sequence = this.#sequence = growUint32(this.#sequence!, this.#sequenceLength + count);
    for (let depth = count - 1; depth >= 0; depth--) {
      sequence[this.#sequenceLength++] = this.#expect(depth, Kind.trace, "what is in a sequence of traces");
    }
  }

  #appendToList(count: number): void {
    this.#need(count + 1);
    this.#expect(count, Kind.traces, "what is added to");
    this.#append(count);
    this.#stack.drop(count);
  }

  /** Adds the topmost values, names and values in turn, to the attributes below them. */
  #setItems(count: number): void {
    this.#need(count + 1);
    if (count % 2 !== 0) this.#fail("a name has no value");
    const attributes = this.#attributes[this.#expect(count, Kind.attributes, "what is set in")]!;
    for (let depth = count - 1; depth > 0; depth -= 2) {
      const name = this.#texts[this.#expect(depth, Kind.text, "the name of an attribute")]!;
      if (!classes.some((one) => Object.hasOwn(one.attributes, name))) {
        this.#fail(`there is an attribute ${JSON.stringify(name)}, which no snapshot has`);
      }
      attributes.set(name, { kind: this.#stack.kind(depth - 1), number: this.#stack.number(depth - 1) });
    }
    this.#stack.drop(count);
  }

  #class(): void {
    this.#need(2);
    const [module, own] = [1, 0].map((depth) => this.#texts[this.#expect(depth, Kind.text, "the name of a class")]!);
    const name = `${module}.${own}`;
    const found = classes.findIndex((one) => one.name === name);
    if (found < 0) this.#fail(`there is the class ${JSON.stringify(name)}, which no snapshot needs`);
    this.#stack.drop(2);
    this.#stack.push(Kind.class, found);
  }

  #object(): void {
    this.#need(2);
    const argument = this.#expect(0, Kind.traceback, "the argument of a class");
    const ofClass = this.#expect(1, Kind.class, "what an object is made of");
    if (argument !== 0) this.#fail(`${classes[ofClass]!.name} is made with arguments`);
    if (this.#objects[ofClass] !== undefined) this.#fail(`there is a second ${classes[ofClass]!.name}`);
    this.#objects[ofClass] = null;
    this.#stack.drop(2);
    this.#stack.push(Kind.object, ofClass);
  }

  /** Gives an object its attributes, which must be those of its class. */
  #build(): void {
    this.#need(2);
    const attributes = this.#attributes[this.#expect(0, Kind.attributes, "the state of an object")]!;
    const object = this.#expect(1, Kind.object, "what has a state");
    const wanted = classes[object]!;
    for (const [name, kind] of Object.entries(wanted.attributes)) {
      const found = attributes.get(name);
      if (kind === Kind.traces && found?.kind === Kind.traceback && found.number === 0) {
        // An empty tuple, which could have been one of frames.
        this.#startSequence();
      } else if (found?.kind !== kind) {
        this.#fail(`${wanted.name}.${name} should be ${kinds[kind]} and is ${found ? kinds[found.kind] : "missing"}`);
      }
    }
    if (attributes.size > Object.keys(wanted.attributes).length) this.#fail(`${wanted.name} has too many attributes`);
    this.#objects[object] = attributes;
    this.#stack.drop(1);
  }

  #stop(): void {
    this.#need(1);
    const result = this.#expect(0, Kind.object, "the result");
    const attributes = this.#objects[SNAPSHOT];
    if (result !== SNAPSHOT || this.#stack.length > 1 || this.#marks.length > 0 || !attributes) {
      this.#fail("the end comes before a snapshot is whole");
    }
    if (attributes.get("traces")!.number !== TRACES || !this.#objects[TRACES]) {
      this.#fail("the traces of the snapshot are no tracemalloc._Traces that is whole");
    }
    const limit = attributes.get("traceback_limit")!.number;
    if (!(limit >= 0 && limit <= MAX_FRAMES)) {
      this.#fail(`the traceback limit should be from 0 to ${MAX_FRAMES} and is ${limit}`);
    }
    if (!this.#bytes.ended()) {
      this.#at = this.#bytes.offset;
      this.#fail("there should be the end of the file, but there are more bytes");
    }
  }
}

/** Values that grow at the end. */
class Values {
  #kinds: Uint8Array = new Uint8Array(64);
  #numbers: Float64Array = new Float64Array(64);
  length = 0;

  push(kind: number, number: number): void {
    const at = this.length++;
    this.#kinds = growUint8(this.#kinds, this.length);
    this.#numbers = growFloat64(this.#numbers, this.length);
    this.#kinds[at] = kind;
    this.#numbers[at] = number;
  }

  /** The kind of the value at a depth below the last one, which must be there. */
  kind(depth: number): number {
    return this.#kinds[this.length - 1 - depth]!;
  }

  number(depth: number): number {
    return this.#numbers[this.length - 1 - depth]!;
  }

  drop(count: number): void {
    this.length -= count;
  }
}

/** Bytes that come in pieces. */
class Bytes {
  readonly #chunks: Iterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #next = 0;
  /** Where `#chunk` begins in the file. */
  #start = 0;

  constructor(chunks: Iterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.iterator]();
  }

  /** Where the next byte is in the file. */
  get offset(): number {
    return this.#start + this.#next;
  }

  /** Whether there is no byte any more. */
  ended(): boolean {
    while (this.#next === this.#chunk.length) {
      const { value, done } = this.#chunks.next();
      if (done) return true;
      this.#start += this.#chunk.length;
      this.#next = 0;
      this.#chunk = value;
    }
    return false;
  }

  byte(): number {
    if (this.#next === this.#chunk.length && this.ended()) throw pickleError(this.offset, "the file ends too early");
    return this.#chunk[this.#next++]!;
  }

  /** An unsigned whole number of so many bytes; beyond 2^53 not exactly. */
  integer(length: number): number {
    let value = 0;
    for (let i = 0, scale = 1; i < length; i++, scale *= 256) value += this.byte() * scale;
    return value;
  }

  /** The next bytes; valid until more are asked for. */
  take(length: number): Uint8Array {
    if (this.#next + length <= this.#chunk.length) {
      this.#next += length;
      return this.#chunk.subarray(this.#next - length, this.#next);
    }
    // What is not there is not made room for.
    let taken: Uint8Array = new Uint8Array(64);
    for (let i = 0; i < length; i++) {
      taken = growUint8(taken, i + 1);
      taken[i] = this.byte();
    }
    return taken.subarray(0, length);
  }
}

function hex(byte: number): string {
  return `0x${byte.toString(16).padStart(2, "0")}`;
}
