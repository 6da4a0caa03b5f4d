// @ts-nocheck: it runs on Bun alone, whose types the others do not have.
/** Native libraries on Bun, called by bun:ffi, and a Node-API addon: blocks that C keeps belong to the line that called it. */
import { dlopen, JSCallback } from "bun:ffi";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { keep } from "../programs/keep.ts";

const folder = fileURLToPath(new URL("../../.build/tests/native/", import.meta.url));
const symbols = {
  keep_malloc: { args: ["u32"], returns: "void" },
  keep_family: { args: ["u32"], returns: "u32" },
  take: { args: ["u32"], returns: "ptr" },
  grow: { args: ["ptr", "u32"], returns: "ptr" },
  give_back: { args: ["ptr"], returns: "void" },
  keep_deep: { args: ["u32", "u32", "ptr"], returns: "u64" },
  call_back: { args: ["function", "u32", "u32"], returns: "void" },
  sort_numbers: { args: ["ptr", "u32", "function"], returns: "void" },
};

/** With frame pointers, and without. */
const plain = dlopen(`${folder}libkeep.so`, symbols).symbols,
  bare = dlopen(`${folder}libkeep_bare.so`, symbols).symbols;
const seven = new BigUint64Array([1n, 2n, 3n, 4n, 5n, 6n, 7n]);

plain.keep_malloc(37_001); // mark 37001
bare.keep_malloc(37_003); // mark 37003
plain.keep_family(37_005); // mark 37005 x7
bare.keep_family(37_007); // mark 37007 x7
plain.keep_deep(50, 37_009, seven); // mark 37009
bare.keep_deep(50, 37_011, seven); // mark 37011

let grown = plain.take(37_013);
grown = plain.grow(grown, 37_015); // mark 37015
keep(grown);
plain.give_back(plain.take(37_013));

const callBack = new JSCallback(() => {
  plain.keep_malloc(37_019); // mark 37019 x6
  bare.keep_malloc(37_021); // mark 37021 x6
}, { args: ["u32"], returns: "void" });
plain.call_back(callBack.ptr, 3, 37_023); // mark 37023 x4
bare.call_back(callBack.ptr, 3, 37_025); // mark 37025 x4

let compared = 0;
const compare = new JSCallback((a, b) => {
  if (compared++ < 3) bare.keep_malloc(37_033); // mark 37033 x3
  return a - b;
}, { args: ["ptr", "ptr"], returns: "i32" });
plain.sort_numbers(new Int32Array([5, 3, 4, 1, 2]), 5, compare.ptr);

const loaded = { exports: {} };
process.dlopen(loaded, `${folder}libaddon.so`);
const addon = loaded.exports;
addon.keep(37_041); // mark 37041
[0].forEach(() => {
  addon.keep(37_043); // mark 37043
});
// mark 37045 x2 bun:59
addon.keep(37_045, () => {
  plain.keep_malloc(37_047); // mark 37047
});

function hot(allocate) {
  if (allocate) bare.keep_malloc(7_101); // mark 7101 x500
}

function hotAddon(allocate) {
  if (allocate) addon.keep(7_103); // mark 7103 x500
}

for (let i = 0; i < 200_000; i++) {
  hot(i % 400 === 0);
  hotAddon(i % 400 === 0);
}
await new Promise((resolve) => setTimeout(resolve, 10));
console.log("native", compared > 3);
