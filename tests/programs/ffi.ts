/** A native library, called by FFI: blocks that C keeps belong to the line that called it. */
import { heat } from "./heat.ts";
import { keep } from "./keep.ts";

const symbols = {
  keep_malloc: { parameters: ["u32"], result: "void" },
  keep_family: { parameters: ["u32"], result: "u32" },
  take: { parameters: ["u32"], result: "pointer" },
  grow: { parameters: ["pointer", "u32"], result: "pointer" },
  give_back: { parameters: ["pointer"], result: "void" },
  keep_deep: { parameters: ["u32", "u32", "buffer"], result: "u64" },
  call_back: { parameters: ["function", "u32", "u32"], result: "void" },
  only_call_back: { parameters: ["function", "u32"], result: "void" },
  sort_numbers: { parameters: ["buffer", "u32", "function"], result: "void" },
} as const;

function open(name: string): Deno.DynamicLibrary<typeof symbols>["symbols"] {
  return Deno.dlopen(new URL(`../../.build/tests/native/${name}`, import.meta.url), symbols).symbols;
}

/** With frame pointers, and without. */
const plain = open("libkeep.so"), bare = open("libkeep_bare.so");
const seven = new BigUint64Array([1n, 2n, 3n, 4n, 5n, 6n, 7n]);

plain.keep_malloc(27_001); // mark 27001
bare.keep_malloc(27_003); // mark 27003
const blocks = plain.keep_family(27_005) + // mark 27005 x7
  bare.keep_family(27_007); // mark 27007 x7

plain.keep_deep(50, 27_009, seven); // mark 27009
bare.keep_deep(50, 27_011, seven); // mark 27011

let grown = plain.take(27_013);
grown = plain.grow(grown, 27_015); // mark 27015
keep(grown);
plain.give_back(plain.take(27_013));

let nested = 0;
const callBack = new Deno.UnsafeCallback({ parameters: ["u32"], result: "void" }, (number) => {
  keep(new Uint8Array(27_017)); // mark 27017 x6
  plain.keep_malloc(27_019); // mark 27019 x6
  bare.keep_malloc(27_021); // mark 27021 x6
  nested += number;
});
plain.call_back(callBack.pointer, 3, 27_023); // mark 27023 x4
bare.call_back(callBack.pointer, 3, 27_025); // mark 27025 x4

let depth = 0;
const again = new Deno.UnsafeCallback({ parameters: ["u32"], result: "void" }, () => {
  if (depth === 10) return;
  depth += 1;
  [0].forEach(() => {
    bare.call_back(again.pointer, 1, 27_027); // mark 27027 x20
  });
  keep(new ArrayBuffer(27_029)); // mark 27029 x10
});
bare.call_back(again.pointer, 1, 27_031); // mark 27031 x2

let compared = 0;
const compare = new Deno.UnsafeCallback({ parameters: ["pointer", "pointer"], result: "i32" }, (a, b) => {
  if (compared++ < 3) keep(new Uint8Array(27_033)); // mark 27033 x3
  return new Deno.UnsafePointerView(a!).getInt32() - new Deno.UnsafePointerView(b!).getInt32();
});
const numbers = new Int32Array([5, 3, 4, 1, 2]);
plain.sort_numbers(numbers, numbers.length, compare.pointer);

/** Compiled code calls C directly. */
function hot(allocate: boolean): void {
  if (allocate) plain.keep_malloc(7001); // mark 7001 x500 interpreter baseline maglev turbofan
}

function hotBare(allocate: boolean): void {
  if (allocate) bare.keep_malloc(7003); // mark 7003 x500 interpreter baseline maglev turbofan
}

function inlined(size: number): void {
  bare.keep_malloc(size); // mark 7005 x500 interpreter baseline turbofan inlined
}

let calls = 0;

function callsInlined(allocate: boolean): void {
  calls += 1;
  if (allocate) inlined(7005);
}

function hotPointers(allocate: boolean): void {
  const block = bare.take(7007); // mark 7007 x500 interpreter baseline maglev turbofan
  if (allocate) keep(block);
  else bare.give_back(block);
}

function hotBuffers(allocate: boolean): void {
  if (allocate) bare.keep_deep(2, 7009, seven); // mark 7009 x500 interpreter maglev turbofan
}

const hotCallback = new Deno.UnsafeCallback({ parameters: ["u32"], result: "void" }, (allocate) => {
  if (allocate) keep(new Uint8Array(7011)); // mark 7011 x500 interpreter maglev turbofan
});

function callsBack(allocate: boolean): void {
  bare.only_call_back(hotCallback.pointer, 0);
  if (allocate) bare.call_back(hotCallback.pointer, 2, 7013); // mark 7013 x1500 interpreter maglev turbofan
}

heat([hot, hotBare, callsInlined, hotPointers, hotBuffers]);
heat([callsBack]);

callBack.close();
again.close();
compare.close();
hotCallback.close();
console.log("ffi", blocks, nested, depth, numbers.join(), compared > 3, calls > 500);
