// @ts-nocheck: it runs on Bun alone, whose types the others do not have.
/**
 * Makes buffers in all ways that there are, and keeps them; prints what differs from what is expected: the line, the size,
 * what is forgotten, what is put back. For a Bun whose allocator cannot be traced.
 */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import process from "node:process";
import { fileURLToPath } from "node:url";
import {
  clearTraces,
  Domain,
  DomainFilter,
  getObjectTraceback,
  getTracedMemory,
  type Snapshot,
  start,
  stop,
  takeSnapshot,
} from "../../mod.ts";

const problems: string[] = [];
const here = fileURLToPath(import.meta.url);

function expect(what: string, found: unknown, expected: unknown): void {
  if (String(found) !== String(expected)) problems.push(`${what}: expected ${expected}, found ${found}`);
}

/** The line that calls. */
function line(): number {
  return Number(/bun_buffers\.ts:(\d+)/.exec(new Error().stack!.split("\n")[2]!)![1]);
}

/** "line: sizes" of the buffers that are known. */
function buffersIn(snapshot: Snapshot): Map<number, number[]> {
  const found = new Map<number, number[]>();
  for (const { size, traceback } of snapshot.filterTraces([new DomainFilter(true, Domain["array-buffer"])]).traces) {
    const { filename, lineno } = traceback.at(-1);
    if (filename !== here) problems.push(`a buffer of ${size} bytes at ${filename}:${lineno}`);
    found.set(lineno, [...found.get(lineno) ?? [], size].sort((a, b) => a - b));
  }
  return found;
}

const turn = (milliseconds = 1) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Until finalizers have run. */
async function collect(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    Bun.gc(true);
    await turn(2);
  }
}

/** Everything that can be replaced, as it is. */
function propertiesOf(): Map<string, PropertyDescriptor> {
  const owners: [string, object][] = [
    ["globalThis", globalThis],
    ["Buffer", Buffer],
    ["Bun", Bun],
    ["TypedArray.prototype", Object.getPrototypeOf(Uint8Array.prototype)],
    ...[
      "ArrayBuffer",
      "SharedArrayBuffer",
      "Uint8Array",
      "Float64Array",
      "TextEncoder",
      "Response",
      "Blob",
      "Worker",
      "Function",
    ]
      .flatMap((name): [string, object][] => {
        const kind = (globalThis as unknown as Record<string, { prototype: object }>)[name]!;
        return [[name, kind], [`${name}.prototype`, kind.prototype]];
      }),
    ...["fs", "fs/promises", "zlib", "crypto", "worker_threads"].map((name): [string, object] => [
      name,
      process.getBuiltinModule(`node:${name}`) as object,
    ]),
  ];
  const all = new Map<string, PropertyDescriptor>();
  for (const [owner, object] of owners) {
    all.set(`prototype of ${owner}`, { value: Object.getPrototypeOf(object) });
    for (const name of Reflect.ownKeys(object)) {
      all.set(`${owner} ${String(name)}`, Object.getOwnPropertyDescriptor(object, name)!);
    }
  }
  return all;
}

function compare(before: Map<string, PropertyDescriptor>, after: Map<string, PropertyDescriptor>): string[] {
  const names = new Set([...before.keys(), ...after.keys()]);
  return [...names].filter((name) => {
    const [one, other] = [before.get(name), after.get(name)];
    // What bun:ffi leaves in older versions.
    return !name.includes("__GlobalBun") && !(one && other &&
      (["value", "get", "set", "writable", "enumerable", "configurable"] as const).every((part) =>
        Object.is(one[part], other[part])
      ));
  });
}

const kept: unknown[] = [];
Object.assign(globalThis, { kept });
// Loaded before, for what follows to be all that changes.
createHash("sha1");
process.getBuiltinModule("node:zlib");
start();
stop();
const before = propertiesOf(), order = Object.getOwnPropertyNames(globalThis).join();
const earlier = { Uint8Array, from: Buffer.from, buffer: new Uint8Array(99) };
start(3);
expect("replaced while tracing", compare(before, propertiesOf()).length > 40, true);

const fs = process.getBuiltinModule("node:fs"), zlib = process.getBuiltinModule("node:zlib");
const expected = new Map<number, number[]>();
/** The first of the sizes is that of what is kept; others are made on the way. */
function keep(at: number, sizes: number[], ...values: unknown[]): void {
  kept.push(...values);
  expected.set(at, sizes);
}
const file = fs.mkdtempSync("/tmp/tracemalloc-buffers-") + "/file";
fs.writeFileSync(file, "z".repeat(5003));

keep(line(), [5005], new ArrayBuffer(5005));
keep(line(), [5007], new SharedArrayBuffer(5007));
keep(line(), [5009], new Uint8Array(5009));
keep(line(), [10018], new Uint16Array(5009));
keep(line(), [24], new Float64Array([1, 2, 3]));
keep(line(), [7, 28], new Uint8Array(new Float32Array(new ArrayBuffer(28))));
keep(line(), [64], new DataView(new ArrayBuffer(64)));
keep(line(), [5011], Uint8Array.from({ length: 5011 }));
keep(line(), [3], Uint8Array.of(1, 2, 3));
keep(line(), [20, 40], new Int32Array(10).slice(5));
keep(line(), [40, 40], new Int32Array(10).map((x) => x + 1));
keep(line(), [40, 40], new Int32Array(10).filter(() => true));
keep(line(), [40, 40], new Int32Array(10).toReversed());
keep(line(), [40, 40], new Int32Array(10).toSorted((a, b) => b - a));
keep(line(), [40, 40], new Int32Array(10).with(0, 1));
keep(line(), [30, 60], new ArrayBuffer(60).slice(30));
keep(line(), [5013], Buffer.alloc(5013));
keep(line(), [5015], Buffer.allocUnsafe(5015));
keep(line(), [5017], Buffer.allocUnsafeSlow(5017));
keep(line(), [5019], Buffer.from("x".repeat(5019)));
keep(line(), [5], Buffer.from([1, 2, 3, 4, 5]));
keep(line(), [11, 11], Buffer.concat([Buffer.alloc(11)]));
keep(line(), [5021], new TextEncoder().encode("y".repeat(5021)));
keep(line(), [5023, 5023], structuredClone(new Uint8Array(5023)));
keep(line(), [5003], fs.readFileSync(file));
keep(line(), [5003], await fs.promises.readFile(file));
keep(line(), [5003], await Bun.file(file).bytes());
keep(line(), [5003], await Bun.file(file).arrayBuffer());
keep(line(), [4], await new Response("body").arrayBuffer());
keep(line(), [4], await new Blob(["body"]).bytes());
keep(line(), [5025], process.getBuiltinModule("node:crypto").randomBytes(5025));
class Bytes extends Uint8Array {}
keep(line(), [9], new Bytes(9));
keep(line(), [9, 9], new Bytes(9).slice());
keep(line(), [17], Reflect.construct(Uint8Array, [17], Bytes));
const [packedLine, packed] = [line(), zlib.gzipSync(kept[2] as Uint8Array)];
keep(packedLine, [packed.buffer.byteLength], packed);

// What is no new memory.
keep(
  line(),
  [],
  Buffer.from(kept[0] as ArrayBuffer),
  new Uint8Array(kept[0] as ArrayBuffer, 1),
  Buffer.from(earlier.buffer.buffer),
);
keep(line(), [], (kept[2] as Uint8Array).subarray(1), new earlier.Uint8Array(77));

// What changes.
const resized = new ArrayBuffer(5027, { maxByteLength: 9000 });
const resizedLine = line() + 1;
resized.resize(5029);
keep(resizedLine, [5029], resized);
const moved = new ArrayBuffer(5031);
const movedLine = line() + 1;
keep(movedLine, [5031], moved.transfer());
const given = new ArrayBuffer(5033);
const { port1 } = new MessageChannel();
port1.postMessage(given, [given]);
const cloned = new ArrayBuffer(5035);
keep(line(), [5035], structuredClone(cloned, { transfer: [cloned] }));
const grown = new SharedArrayBuffer(8, { maxByteLength: 64 });
const grownLine = line() + 1;
grown.grow(16);
keep(grownLine, [16], grown);
await turn(20);
await collect();

const snapshot = takeSnapshot(), found = buffersIn(snapshot);
for (const [at, sizes] of expected) {
  const there = found.get(at) ?? [], [first] = sizes;
  const right = first === undefined ? there.length === 0 : there.includes(first);
  if (!right || there.some((size) => !sizes.includes(size))) {
    problems.push(`line ${at}: expected ${sizes}, found ${there}`);
  }
}
const where = (x: object) => String(getObjectTraceback(x)?.at(-1));
expect("of a view", where(kept[2] as object), where((kept[2] as Uint8Array).buffer));
expect("of a view on another line", where(kept[0] as object) === where(kept[2] as object), false);
expect("of an earlier buffer", getObjectTraceback(earlier.buffer), null);
expect("of a Buffer", where(Buffer.alloc(55)), `${here}:${line()}`);

// Frees.
const [bytesBefore] = getTracedMemory();
for (let i = 0; i < 100; i++) new Uint8Array(10_007);
expect("100 more", getTracedMemory()[0] - bytesBefore, 1_000_700);
await collect();
await collect();
expect("forgotten", Math.abs(getTracedMemory()[0] - bytesBefore) < 100_000, true);
clearTraces();
expect("cleared", buffersIn(takeSnapshot()).size, 0);

// And back.
const { Uint8Array: wrapped } = globalThis;
class Later extends Uint8Array {}
stop();
expect("left behind", compare(before, propertiesOf()), []);
expect("order of what is global", Object.getOwnPropertyNames(globalThis).join(), order);
expect("what was made by a wrapper", new wrapped(3) instanceof Uint8Array && new Later(4) instanceof Uint8Array, true);

// What the program has changed stays so.
start(1, { domains: ["array-buffer"] });
const own = function structuredClone() {};
Object.assign(globalThis, { structuredClone: own });
const alone = new Uint8Array(5_037);
const domains = new Set([...takeSnapshot().traces].map(({ domain }) => domain));
expect("domains", [...domains], [Domain["array-buffer"]]);
expect("where it is", getObjectTraceback(alone)?.at(-1).filename, here);
stop();
expect("the program's own", globalThis.structuredClone === own as unknown, true);
fs.rmSync(file);
console.log(JSON.stringify(problems));
process.exit(0);
