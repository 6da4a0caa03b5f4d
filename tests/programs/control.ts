/** Ways through a program: exceptions, generators, closures, recursion, arguments, chains of calls. */
import { keep } from "./keep.ts";

function throws(): never {
  keep(new Uint8Array(22_001)); // mark 22001 x2
  throw new Error("expected");
}

function handles(): number {
  try {
    throws();
  } catch {
    keep(new Uint8Array(22_003)); // mark 22003 x2
    return 1;
  } finally {
    keep(new Uint8Array(22_005)); // mark 22005 x2
  }
}
handles();
handles();

/** The exception passes through it. */
function passes(): void {
  try {
    [1].forEach(() => {
      throw new RangeError(String(keep(new Uint8Array(22_007)).length)); // mark 22007
    });
  } finally {
    keep(new Uint8Array(22_009)); // mark 22009
  }
}
try {
  passes();
} catch (error) {
  keep(new Uint8Array(Number((error as Error).message) + 4)); // mark 22011
}

function* count(): Generator<number, number, number> {
  let sum = 0;
  try {
    while (true) {
      keep(new Uint8Array(22_013)); // mark 22013 x4
      sum += yield sum;
    }
  } catch {
    keep(new Uint8Array(22_015)); // mark 22015
    yield -1;
  } finally {
    keep(new Uint8Array(22_017)); // mark 22017
  }
  return sum;
}
const counter = count();
counter.next();
for (let i = 0; i < 3; i++) counter.next(i);
counter.throw("enough");
counter.return(1);

function* delegates(): Generator<Uint8Array> {
  yield keep(new Uint8Array(22_019)); // mark 22019
  yield* [keep(new Uint8Array(22_021))]; // mark 22021
  yield* inner();
}
function* inner(): Generator<Uint8Array> {
  yield keep(
    new Uint8Array(22_023), // mark 22023
  );
}
const [first, ...others] = delegates();

function makeAdder(length: number): (more: number) => Uint8Array {
  const bytes = () => new Uint8Array(length + 12); // mark 22025 x2
  return (more) => {
    keep(new Uint8Array(length + more)); // mark 22027 x2
    return keep(bytes());
  };
}
const add = makeAdder(22_013);
add(14);
add(14);

/** As deep as it is, the line stays its line. */
function descend(depth: number): number {
  if (depth === 0) {
    return keep(new Uint8Array(22_029)).length; // mark 22029
  }
  return 1 +
    descend(depth - 1);
}
descend(3000);

function mutual(depth: number): void {
  keep(new Uint8Array(22_031)); // mark 22031 x40
  if (depth > 0) mutuallyOther(depth - 1);
}
function mutuallyOther(depth: number): void {
  keep(new Uint8Array(22_033)); // mark 22033 x40
  if (depth > 0) mutual(depth - 1);
}
mutual(79);

function defaults(bytes = keep(new Uint8Array(22_035)), { length } = bytes): number { // mark 22035
  return length;
}
defaults();

const { deep: { missing = keep(new Uint8Array(22_037)) } = {} }: { deep?: { missing?: Uint8Array } } = {}; // mark 22037

const chain = {
  step(length: number) {
    keep(new Uint8Array(length));
    return this;
  },
};
chain
  .step(keep(new Uint8Array(22_039)).length + 22_000) // mark 22039
  .step(keep(new Uint8Array(22_041)).length + 22_000); // mark 22041

switch (missing.length) {
  case keep(new Uint8Array(22_043)).length: // mark 22043
    break;
  default:
    keep(new Uint8Array(22_045)); // mark 22045
}

outer: for (const i of [1, 2, 3]) {
  for (const j of [1, 2, 3]) {
    if (j === 2) continue outer;
    keep(new Uint8Array(22_047)); // mark 22047 x3
    if (i === 3) break outer;
  }
}

const either = missing.length > 1
  ? keep(new Uint8Array(22_049)) // mark 22049
  : keep(new Uint8Array(22_051));
const least = either?.at?.(-1) ?? keep(new Uint8Array(22_053));

{
  using resource = {
    bytes: keep(new Uint8Array(22_055)), // mark 22055
    [Symbol.dispose](): void {
      keep(new Uint8Array(22_057)); // mark 22057
    },
  };
  keep(resource.bytes);
}

console.log("control", first?.length, others.length, least);
