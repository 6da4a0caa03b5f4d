/** A program that uses packages: CommonJS in the style of long ago, a module of today, files required late. */
import { Buffer } from "node:buffer";
// @deno-types="./kept.d.ts"
import { Cache, callback, late, loaded, Pool } from "kept-buffers";
// @deno-types="./kept.d.ts"
import { both } from "kept-modern";
import { keep } from "../keep.ts";

const cache = new Cache();
for (const name of ["a", "b", "c"]) cache.add(name);
Pool(26_007);

const bytes = await new Promise((resolve) => callback(26_005, (_, bytes) => resolve(bytes)));
const Late = late();
keep([new Late(), new Late(), both]);
keep(Buffer.alloc(26_015)); // mark 26015

console.log("npm", loaded.length, Object.keys(cache.entries).join(), bytes !== undefined, cache instanceof Pool);
