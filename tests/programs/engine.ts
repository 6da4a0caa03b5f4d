/** Memory that built-in functions and the runtime allocate for a line of the program. */
import { Buffer } from "node:buffer";
import {
  createCipheriv,
  createHash,
  createHmac,
  getRandomValues,
  type Hash,
  type Hmac,
  randomBytes,
  scryptSync,
} from "node:crypto";
import { Readable } from "node:stream";
import { createDeflate, createGzip, createInflate, deflateSync, inflateSync } from "node:zlib";
import { keep } from "./keep.ts";

keep(new ArrayBuffer(28_001)); // mark 28001
keep(new SharedArrayBuffer(28_003)); // mark 28003
keep(new DataView(new ArrayBuffer(28_005))); // mark 28005
keep(keep(new Uint8Array(28_007)).slice()); // mark 28007 x2
keep(keep(new Uint8Array(28_009)).toSorted()); // mark 28009 x2
keep(structuredClone(keep(new Uint8Array(28_011)))); // mark 28011 x2
keep(Uint8Array.from({ length: 28_013 })); // mark 28013
keep(new ArrayBuffer(4).transfer(28_015)); // mark 28015
keep(
  keep(new ArrayBuffer(28_041)) // mark 28041
    .slice(2), // mark 28039
);

// Node takes buffers of up to half the size from pools.
Buffer.poolSize = 0;
keep(Buffer.alloc(28_019)); // mark 28019
keep(Buffer.allocUnsafe(28_021)); // mark 28021
keep(Buffer.from("x".repeat(28_023))); // mark 28023
keep(Buffer.concat([Buffer.alloc(20), Buffer.alloc(5)], 28_025)); // mark 28025
keep(new TextEncoder().encode("y".repeat(28_027))); // mark 28027
keep(randomBytes(28_029)); // mark 28029
keep(getRandomValues(new Uint8Array(28_031))); // mark 28031
keep(scryptSync("password", "salt", 28_033, { N: 2 })); // mark 28033
keep(inflateSync(keep(deflateSync(keep(Buffer.alloc(28_035)))))); // mark 28035 x2
for await (const chunk of Readable.from([Buffer.from("z".repeat(28_037))])) keep(chunk); // mark 28037

// A deflating stream has, beside its buffers, a window and tables of (1 << 17) + (1 << 17) bytes: zlib's zconf.h.
const streams = [];
for (let i = 0; i < 7; i++) {
  streams.push(
    createDeflate(), // owns 1835008
    createGzip(), // owns 1835008
  );
}
// Inflating has a window of 1 << 15 bytes when there is something to inflate, and a state before.
for (let i = 0; i < 11; i++) keep(createInflate()); // owns 77000

// A context of SHA-512 holds a state of 64 bytes, a block of 128, and two lengths of 8.
const contexts: (Hash | Hmac)[] = [];
for (let i = 0; i < 100; i++) {
  contexts.push(createHash("sha512")); // owns 20800
  contexts.push(createHmac("sha512", "key")); // owns 20800
}
for (let i = 0; i < 50; i++) {
  // The key's schedule: 15 keys of 16 bytes.
  keep(createCipheriv("aes-256-cbc", Buffer.alloc(32), Buffer.alloc(16))); // owns 12000
}

for (const stream of keep(streams)) stream.on("error", () => {});
console.log("engine", streams.length, keep(contexts).length);
