// The globals of Bun, Node and Deno for tsc. Not in tsconfig.json's "types", because Deno reads that file too.
/// <reference types="bun" />
/// <reference types="deno" />
