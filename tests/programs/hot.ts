/** Functions that run hot. A mark's tiers are those that frames of its line must have been seen in. */
import { heat, heatAsync } from "./heat.ts";
import { keep } from "./keep.ts";

let sum = 0;

function plain(allocate: boolean): void {
  if (allocate) keep(new Uint8Array(5001)); // mark 5001 x500 interpreter baseline maglev turbofan
  sum += 1;
}

/** Small enough to become a part of its caller, and that of its own. */
function small(): Uint8Array {
  return new Uint8Array(5003); // mark 5003 x500 interpreter baseline turbofan inlined
}

function callsSmall(): Uint8Array {
  return small();
}

function inlines(allocate: boolean): void {
  if (allocate) keep(callsSmall());
  sum += 1;
}

class Node {
  readonly bytes: Uint8Array;
  readonly next: Node | undefined;

  constructor(next: Node | undefined, allocate: boolean) {
    this.bytes = allocate ? new Uint8Array(5005) : nothing; // mark 5005 x500 interpreter baseline maglev turbofan inlined
    this.next = next;
  }
}

const nothing = new Uint8Array(0);
let nodes: Node | undefined;

function constructs(allocate: boolean): void {
  const node = new Node(nodes, allocate);
  if (allocate) nodes = keep(node);
  sum += 1;
}

let fieldAllocates = false;

class WithField {
  readonly name = "field";
  readonly bytes = fieldAllocates ? new Uint8Array(5007) : nothing; // mark 5007 x500 interpreter baseline maglev turbofan inlined bun:54
}

function initialises(allocate: boolean): void {
  fieldAllocates = allocate;
  const object = new WithField();
  if (allocate) keep(object);
  sum += 1;
}

class WithAccessors {
  allocates = false;

  get bytes(): Uint8Array {
    sum += 1;
    return this.allocates ? new Uint8Array(5009) : nothing; // mark 5009 x500 interpreter baseline maglev turbofan inlined
  }

  set bytes(value: Uint8Array) {
    sum += value.length;
    if (this.allocates) keep(new ArrayBuffer(5011)); // mark 5011 x500 interpreter baseline maglev turbofan inlined
  }
}

const accessors = new WithAccessors();

function accesses(allocate: boolean): void {
  accessors.allocates = allocate;
  keepIf(allocate, accessors.bytes);
  accessors.bytes = nothing;
}

function keepIf(condition: boolean, value: unknown): void {
  if (condition) keep(value);
}

function makeClosure(): (allocate: boolean) => void {
  let calls = 0;
  return (allocate) => {
    calls += 1;
    if (allocate) keep(new Uint8Array(5013)); // mark 5013 x500 interpreter baseline maglev turbofan
    sum += calls & 1;
  };
}

const numbers = [3, 1, 2];

function maps(allocate: boolean): void {
  numbers.map((number) => {
    if (allocate && number === 1) keep(new Uint8Array(5015)); // mark 5015 x500 interpreter baseline maglev turbofan inlined
    return number + 1;
  });
}

function sorts(allocate: boolean): void {
  let asked = false;
  [...numbers].sort((a, b) => {
    if (allocate && !asked) keep(new Uint8Array(5017)); // mark 5017 x500 interpreter baseline maglev turbofan inlined
    asked = true;
    return a - b;
  });
}

function* generate(allocate: boolean): Generator<number> {
  yield 1;
  if (allocate) keep(new Uint8Array(5019)); // mark 5019 x500 interpreter baseline maglev turbofan
  yield 2;
}

function iterates(allocate: boolean): void {
  for (const number of generate(allocate)) sum += number;
}

function catches(allocate: boolean): void {
  try {
    if (allocate) throw 1;
    sum += 1;
  } catch {
    keep(new Uint8Array(5021)); // mark 5021 x500 interpreter baseline maglev turbofan
  } finally {
    if (allocate) keep(new Uint8Array(5023)); // mark 5023 x500 interpreter baseline maglev turbofan
  }
}

function spreads(allocate: boolean): void {
  const lengths: [number, number?, number?] = [5025];
  if (allocate) keep(new Uint8Array(...lengths as [number])); // mark 5025 x500 interpreter maglev turbofan
  sum += lengths.length;
}

/** Called once: the engine exchanges the code of the loop while it runs. */
function loops(): void {
  let next = 0;
  for (let blocks = 0; blocks < 400;) {
    sum += blocks & 1;
    if (performance.now() < next) continue;
    keep(new Uint8Array(5027)); // mark 5027 x400 interpreter maglev turbofan
    blocks += 1;
    if (blocks > 100) next = performance.now() + 1;
  }
}

async function awaits(allocate: boolean): Promise<void> {
  await undefined;
  if (allocate) keep(new Uint8Array(5029)); // mark 5029 x500 interpreter maglev turbofan
  sum += 1;
}

heat([
  plain,
  inlines,
  constructs,
  initialises,
  accesses,
  makeClosure(),
  maps,
  sorts,
  iterates,
  catches,
  spreads,
]);
loops();
await heatAsync(awaits);
console.log("hot", sum > 0);
