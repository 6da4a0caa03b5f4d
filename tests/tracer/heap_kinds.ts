/**
 * Keeps COUNT objects of each KIND, made at a line of its own: `heap_kinds.ts COUNT [KIND…]`. Prints by how many bytes V8
 * says that its heap has grown, without the arrays that keep them.
 */
import v8 from "node:v8";
import vm from "node:vm";

class Point {
  x: number;
  y: number;
  constructor(x: number, y: number) {
    this.x = x;
    this.y = y;
  }
}

/** The line of each is found again by its name. */
const kinds: Record<string, (i: number) => unknown> = {
  literal: (i) => ({ a: i, b: i }),
  instance: (i) => new Point(i, i),
  closure: (i) => () => i,
  array: (i) => [i, i, i, i],
  growing: (i) => pushed(i), // charged to the line that pushes
  map: (i) => new Map([[i, i]]),
  set: (i) => new Set([i]),
  string: (i) => `a string that is made of ${i}`,
  flattened: (i) => Number(`${i}${"0123456789".repeat(3)}`) + String(i).padStart(30).length,
  json: (i) => JSON.parse(`{"a":[${i}],"b":{"c":${i}}}`),
  mapped: (i) => [i, i + 1, i + 2].map((x) => x * 2),
  filtered: (i) => [i, i + 1, i + 2].filter((x) => x !== i),
  bigint: (i) => BigInt(i) ** 20n,
  regexp: (i) => /(\d)(\d*)/.exec(String(10 + i)),
  promise: (i) => Promise.resolve({ i }),
  date: (i) => new Date(i),
  weakref: () => new WeakRef(kept),
  digits: (i) => (i + 10000).toString(36),
};

function pushed(i: number): number[] {
  const array: number[] = [];
  for (let j = 0; j < 20; j++) array.push(i);
  return array;
}

const kept: unknown[] = [];
(globalThis as unknown as { kept: unknown }).kept = kept;
const count = Number(Deno.args[0]);
v8.setFlagsFromString("--expose-gc");
const collect: () => void = vm.runInNewContext("gc");
collect();
const before = v8.getHeapStatistics().used_heap_size;
for (const name of Deno.args.length > 1 ? Deno.args.slice(1) : Object.keys(kinds)) {
  const make = kinds[name]!, all: unknown[] = new Array(count);
  for (let i = 0; i < count; i++) all[i] = make(i);
  kept.push(all);
}
collect();
console.log(v8.getHeapStatistics().used_heap_size - before - kept.length * count * 8);
