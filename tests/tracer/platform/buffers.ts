// @ts-nocheck: it runs on Bun alone, whose types the others do not have.
/** What buffers, views on them and Buffers do, as exactly as a program can tell. */
import { Buffer } from "node:buffer";
import util from "node:util";

type Probe = (name: string, work: () => unknown) => Promise<void>;

export async function probeBuffers(probe: Probe): Promise<void> {
  const arrays = [
    ...[Int8Array, Uint8Array, Uint8ClampedArray, Int16Array, Uint16Array, Int32Array, Uint32Array],
    ...[Float32Array, Float64Array, BigInt64Array, BigUint64Array],
  ];
  for (const Kind of [...arrays, ArrayBuffer, SharedArrayBuffer, Buffer]) {
    await probe(Kind.name, () => [
      Kind.length,
      Function.prototype.toString.call(Kind),
      `${Kind}`,
      Kind.prototype.constructor === Kind,
      Object.getOwnPropertyNames(Kind).sort(),
      Object.getOwnPropertyDescriptor(Kind.prototype, "constructor")?.enumerable,
      Object.getOwnPropertyDescriptor(globalThis, Kind.name)?.writable,
      Reflect.ownKeys(Kind.prototype).map(String).sort().join(),
    ]);
  }
  await probe("constructors", () => {
    const a = new Uint8Array(4), b = new ArrayBuffer(8, { maxByteLength: 16 });
    return [
      a.constructor === Uint8Array,
      a.buffer.constructor === ArrayBuffer,
      a instanceof Uint8Array,
      a.buffer instanceof ArrayBuffer,
      Object.getPrototypeOf(Uint8Array) === Object.getPrototypeOf(Float64Array),
      Object.getPrototypeOf(Buffer) === Uint8Array,
      Object.getPrototypeOf(a) === Uint8Array.prototype,
      [b.resizable, b.maxByteLength, b.byteLength],
      new Uint8Array([1, 2, 300]),
      new Uint8Array(new Float32Array([1.5, 2.5])),
      new Uint8Array(new Set([1, 2])),
      new Uint16Array(new ArrayBuffer(8), 2, 2).byteOffset,
      new Uint8Array(a.buffer).buffer === a.buffer,
      Reflect.construct(Uint8Array, [3], Float32Array) instanceof Float32Array,
      Object.prototype.toString.call(a),
    ];
  });
  for (
    const [name, work] of [
      ["without new", () => (Uint8Array as unknown as (n: number) => unknown)(3)],
      ["a negative length", () => new Uint8Array(-1)],
      ["a negative buffer", () => new ArrayBuffer(-5)],
      ["too long", () => new ArrayBuffer(2 ** 53)],
      ["an odd offset", () => new Uint16Array(new ArrayBuffer(8), 1)],
      ["a symbol", () => new Uint8Array(Symbol("x") as unknown as number)],
      ["a big integer", () => new BigInt64Array([1 as unknown as bigint])],
      ["an iterator that throws", () =>
        new Uint8Array({
          *[Symbol.iterator]() {
            yield 1;
            throw new Error("mine");
          },
        } as unknown as Iterable<number>)],
      ["Buffer.alloc", () => Buffer.alloc(-1)],
      ["Buffer.from", () => Buffer.from(3 as unknown as string)],
      ["resize", () => new ArrayBuffer(4).resize(8)],
      ["an alien", () => ArrayBuffer.prototype.slice.call({} as ArrayBuffer, 1)],
      ["a text of no function", () => Function.prototype.toString.call({} as never)],
    ] as const
  ) await probe(`error: ${name}`, work);
  await probe("subclasses", () => {
    class Bytes extends Uint8Array {
      extra = 5;
      get half() {
        return this.length / 2;
      }
    }
    class Plain extends Bytes {
      static override get [Symbol.species]() {
        return Uint8Array;
      }
    }
    class Memory extends ArrayBuffer {}
    const bytes = new Bytes(8), plain = new Plain(4);
    return [
      [bytes.half, bytes.extra, bytes instanceof Bytes, bytes instanceof Uint8Array, bytes.constructor.name],
      [bytes.slice(2) instanceof Bytes, bytes.map((x) => x + 1) instanceof Bytes, bytes.subarray(1) instanceof Bytes],
      [plain.slice(1) instanceof Plain, plain.slice(1).constructor === Uint8Array, plain.filter(() => true).length],
      [Bytes.from([1, 2]) instanceof Bytes, Bytes.of(1) instanceof Bytes, Object.getPrototypeOf(Bytes) === Uint8Array],
      [new Memory(4).slice(1) instanceof Memory, new Uint8Array(new Memory(2)).length, Bytes.name, Bytes.length],
      util.inspect(bytes),
      Bun.inspect(bytes),
    ];
  });
  await probe("methods", () => {
    const a = new Float32Array([3, 1, 2]);
    return [
      [a.slice(1), a.map((x) => x * 2), a.filter((x) => x > 1), a.toReversed(), a.toSorted(), a.with(0, 9)],
      [Int8Array.from([1, 2], (x) => x * 2), Int8Array.of(5), a.subarray(1).buffer === a.buffer],
      a.map(() => new Error("x").stack!.split("\n").length),
      a.toSorted((x, y) => (new Error("x").stack!.split("\n").length, x - y)),
      [Uint8Array.fromHex?.("ff00"), Uint8Array.fromBase64?.("AQID")],
    ];
  });
  await probe("bytes that move", () => {
    const a = new ArrayBuffer(8, { maxByteLength: 20 }), view = new Uint8Array(a);
    view[7] = 9;
    a.resize(12);
    const lengths = [view.length, a.byteLength];
    const b = a.transfer(4);
    const c = structuredClone(b, { transfer: [b] });
    const shared = new SharedArrayBuffer(4, { maxByteLength: 8 });
    shared.grow(6);
    return [lengths, a.detached, view.length, b.detached, c, shared.byteLength, c.transferToFixedLength().resizable];
  });
  await probe("copies", () => {
    const made = structuredClone({ a: new Uint8Array([1, 2]), b: new ArrayBuffer(2), c: Buffer.from("x") });
    return [made, made.a instanceof Uint8Array, made.b instanceof ArrayBuffer, made.a.constructor === Uint8Array];
  });
  await probe("Buffers", () => {
    const a = Buffer.from("äöü"), b = Buffer.allocUnsafe(10);
    return [
      [a, a.length, Buffer.isBuffer(a), a instanceof Uint8Array, a.constructor === Buffer, a.slice(1, 3)],
      [Buffer.poolSize, b.length, b.buffer.byteLength, Buffer.alloc(5, "ab"), Buffer.concat([a, a], 8)],
      [Buffer.from(a).equals(a), Buffer.from(new ArrayBuffer(3), 1, 2).byteOffset, Buffer.from([1, 2, 3]).toJSON()],
      [a.map((x) => x & 1).constructor === Buffer, a.subarray(1) instanceof Buffer, Buffer.from({ length: 2 }).length],
      [Buffer.copyBytesFrom(new Uint16Array([1, 2])), Buffer.from(a.buffer).buffer === a.buffer, Buffer.of(1, 2)],
      new (Buffer as unknown as new (n: number) => Buffer)(3),
    ];
  });
  await probe("equality", () => [
    util.isDeepStrictEqual(new Uint8Array([1]), structuredClone(new Uint8Array([1]))),
    Bun.deepEquals(new Uint8Array([1, 2]), new TextEncoder().encode("\x01\x02"), true),
    util.types.isUint8Array(new Uint8Array(1)),
    util.types.isArrayBuffer(new ArrayBuffer(1)),
    ArrayBuffer.isView(new DataView(new ArrayBuffer(1))),
    JSON.stringify(new Uint8Array([1, 2])),
  ]);
  await probe("descriptors of functions", () =>
    ([
      [Buffer, "alloc"],
      [Buffer, "from"],
      [ArrayBuffer.prototype, "slice"],
      [ArrayBuffer.prototype, "transfer"],
      [Object.getPrototypeOf(Uint8Array.prototype), "with"],
      [TextEncoder.prototype, "encode"],
      [globalThis, "structuredClone"],
      [Response.prototype, "arrayBuffer"],
      [Function.prototype, "toString"],
    ] as [object, string][]).map(([owner, name]) => {
      const { value, ...rest } = Object.getOwnPropertyDescriptor(owner, name)!;
      return [value.name, value.length, Reflect.ownKeys(value).map(String), `${value}`, rest, "prototype" in value];
    }));
  await probe("promises of buffers", async () => {
    const response = new Response("body"), promise = response.arrayBuffer();
    return [
      promise.constructor === Promise,
      util.inspect(promise).slice(0, 9),
      await promise,
      await new Response("body").bytes(),
      await new Blob(["x"]).arrayBuffer(),
      await response.arrayBuffer().catch((error: Error) => error.message),
    ];
  });
}
