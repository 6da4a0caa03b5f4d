/** Ends in the way that its first argument names, many of them such that no JavaScript runs any more. */
import process from "node:process";

interface Kept {
  // Lines of the author's, which the compiled text does not have.
  readonly bytes: Uint8Array;
}

const kept: Kept[] = [];
Object.assign(globalThis, { kept });

function keep(size: number): void {
  kept.push({ bytes: new Uint8Array(size) }); // line 13
}

const [way = "", library = ""] = process.argv.slice(2);

const names = [
  ..."ends_exit ends_at_once ends_abort ends_raise ends_by_trap ends_by_fault".split(" "),
  ..."ends_by_deep_recursion no_more_memory".split(" "),
];

interface Ffi {
  dlopen(path: string, symbols: object): { symbols: Record<string, () => number> };
}

function load(): Record<string, () => number> {
  const each = (description: object) => Object.fromEntries(names.map((name) => [name, description]));
  if ("Bun" in globalThis) {
    const ffi = process.getBuiltinModule("bun:ffi") as unknown as Ffi;
    return ffi.dlopen(library, each({ args: [], returns: "i32" })).symbols;
  }
  return (Deno as unknown as Ffi).dlopen(library, each({ parameters: [], result: "i32" })).symbols;
}

const native = load();

function fail(): never {
  throw new Error("on purpose");
}

function fillTheHeap(): never {
  for (const all: unknown[] = [];;) all.push(Array.from({ length: 1000 }, (_, i) => ({ i })));
}

function fillTheMemory(): never {
  if (native["no_more_memory"]!() !== 0) throw new Error("no limit");
  for (const all: unknown[] = [];;) all.push(new Uint8Array(100_001));
}

const ways: Record<string, () => unknown> = {
  "return": () => {},
  "process.exit deep in a callback": () => [3, 1, 2].sort(() => JSON.parse("1", () => process.exit(7))),
  "exception": fail,
  "rejection": () => Promise.reject(new Error("on purpose")),
  "a failed allocation": fillTheMemory,
  "the heap's limit": fillTheHeap,
  "exit": native["ends_exit"]!,
  "_exit": native["ends_at_once"]!,
  "abort": native["ends_abort"]!,
  "raise": native["ends_raise"]!,
  "a trap": native["ends_by_trap"]!,
  "a fault": native["ends_by_fault"]!,
  "a full stack": native["ends_by_deep_recursion"]!,
  "stop": () => console.log("stops"),
};

keep(1_999_907);
const signal = /^SIG/.test(way);
// Signals come when they come.
if (signal) setInterval(() => {}, 1000);
setTimeout(signal ? () => process.kill(process.pid, way as NodeJS.Signals) : ways[way]!, 1);
