import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  clearTraces,
  DomainFilter,
  getObjectTraceback,
  getTracedMemory,
  NotTracingError,
  start,
  stop,
  takeSnapshot,
  track,
  untrack,
} from "@x/tracemalloc";
import { deno } from "./deno.ts";
import { addressOf, openLibrary } from "./ffi.ts";

const onDeno = "Deno" in globalThis, onNode = !onDeno && !("Bun" in globalThis);
const here = fileURLToPath(import.meta.url);
const root = fileURLToPath(new URL("../../", import.meta.url));

function thisLine(): number {
  return Number(/:(\d+):\d+\)?$/.exec(new Error().stack!.split("\n")[2]!)![1]);
}

function traced(work: () => void): void {
  start();
  try {
    work();
  } finally {
    stop();
  }
}

test("while not tracing nothing is known of objects, and nothing can be tracked", () => {
  assertEquals(getObjectTraceback(new Uint8Array(4)), null);
  assertEquals(getObjectTraceback(1234n), null);
  assertThrows(() => track(16, 1n, 1), NotTracingError);
  assertThrows(() => untrack(16, 1n), NotTracingError);
});

test("arguments that cannot be are refused", () => {
  for (const domain of [-1, 1.5, 2 ** 32, NaN]) assertThrows(() => track(domain, 1n, 1), RangeError, "domain must be");
  for (const address of [-1, -1n, 2n ** 64n, 0.5]) {
    assertThrows(() => track(16, address, 1), RangeError, "address must");
    assertThrows(() => getObjectTraceback(address), RangeError, "address must");
  }
  for (const size of [-1, -1n, 2n ** 53n, 0.5]) assertThrows(() => track(16, 1n, size), RangeError, "size must");
  for (const x of [null, undefined, "text", true]) {
    assertThrows(() => getObjectTraceback(x as unknown as object), TypeError, "expected an object");
  }
});

test("the traceback of a buffer, of views on it, and of where it lies", () =>
  traced(() => {
    const [buffer, line] = [new ArrayBuffer(40_003), thisLine()];
    const expected = `${here}:${line}`;
    const views = [new Uint8Array(buffer), new Float32Array(buffer, 400, 3), new DataView(buffer, 9)];
    for (const x of [buffer, ...views]) assertEquals(String(getObjectTraceback(x)), expected);
    const { pointer, address } = addressOf(new Uint8Array(buffer));
    assertEquals(String(getObjectTraceback(pointer)), expected);
    assertEquals(String(getObjectTraceback(address)), expected);
    assertEquals(String(getObjectTraceback(Number(address))), expected);
    assertEquals(getObjectTraceback(address + 16n), null);
    for (const x of [{}, () => {}, Object.create(null)]) assertEquals(getObjectTraceback(x), null);
    const [shared, sharedLine] = [new SharedArrayBuffer(40_005), thisLine()];
    assertEquals(String(getObjectTraceback(shared)), `${here}:${sharedLine}`);
    clearTraces();
    assertEquals(getObjectTraceback(buffer), null);
  }));

test("what is allocated before is not known", () => {
  const before = new Uint8Array(40_007);
  traced(() => assertEquals(getObjectTraceback(before), null));
});

test("memory is tracked by hand, in domains of its own", () =>
  traced(() => {
    const [before] = getTracedMemory();
    track(16, 0x10_0000n, 5_000_003);
    const line = thisLine() - 1;
    track(17, 0x10_0000, 5_000_005n);
    const own = takeSnapshot().filterTraces([new DomainFilter(true, 16), new DomainFilter(true, 17)]);
    assertEquals(
      [...own.traces].map(({ domain, size, traceback }) => [domain, size, String(traceback)]).sort(),
      [[16, 5_000_003, `${here}:${line}`], [17, 5_000_005, `${here}:${line + 2}`]],
    );
    const grown = getTracedMemory()[0] - before;
    assert(grown >= 10_000_008 && grown < 10_500_000, `grown by ${grown}`);
    track(16, 0x10_0000n, 3);
    untrack(17, 0x10_0000n);
    untrack(17, 0x10_0000n);
    const again = takeSnapshot().filterTraces([new DomainFilter(true, 16), new DomainFilter(true, 17)]);
    assertEquals([...again.traces].map(({ domain, size }) => [domain, size]), [[16, 3]]);
    const left = getTracedMemory()[0] - before;
    assert(left < 500_000, `${left} bytes are left`);
  }));

test("many tracked blocks are all found again", () =>
  traced(() => {
    const own = [new DomainFilter(true, 99)];
    for (let i = 0; i < 5000; i++) track(99, BigInt(i * 8), i);
    for (let i = 0; i < 5000; i += 3) untrack(99, BigInt(i * 8));
    for (let i = 0; i < 5000; i += 6) track(99, BigInt(i * 8), i);
    const sizes = [...takeSnapshot().filterTraces(own).traces].map(({ size }) => size).sort((a, b) => a - b);
    assertEquals(sizes, Array.from({ length: 5000 }, (_, i) => i).filter((i) => i % 3 !== 0 || i % 6 === 0));
    for (let i = 0; i < 5000; i++) untrack(99, BigInt(i * 8));
    assertEquals(takeSnapshot().filterTraces(own).traces.length, 0);
  }));

test("a native library tracks its own, where there is a tracer", {
  skip: onNode && "Node does not call native libraries",
}, () => {
  const folder = `${root}.build/tests/`, library = `${folder}libtracked.${process.pid}.so`;
  mkdirSync(folder, { recursive: true });
  const source = fileURLToPath(new URL("tracked.c", import.meta.url));
  const { status, stderr } = spawnSync(process.env["CC"] || "cc", ["-shared", "-fPIC", "-o", library, source], {
    encoding: "utf8",
  });
  assertEquals(status, 0, stderr);
  traced(() => {
    const native = openLibrary(library, { pool_take: 2, pool_give: 1 });
    const line = thisLine() + 1;
    const results = [native.pool_take(8, 1003), native.pool_take(16, 1005)];
    results.push(native.pool_give(8));
    assertEquals(results, [0, 0, 0]);
    const [trace, ...others] = takeSnapshot().filterTraces([new DomainFilter(true, 77)]).traces;
    assertEquals([trace?.size, String(trace?.traceback), others.length], [1005, `${here}:${line}`, 0]);
    stop();
    assertEquals(native.pool_take(8, 7), -2);
  });
});

test("a native library runs without a tracer", () => {
  const folder = `${root}.build/tests/`, library = `${folder}libuntracked.${process.pid}.so`;
  mkdirSync(folder, { recursive: true });
  const source = fileURLToPath(new URL("tracked.c", import.meta.url));
  assertEquals(spawnSync(process.env["CC"] || "cc", ["-shared", "-fPIC", "-o", library, source]).status, 0);
  const { stdout, stderr } = spawnSync(
    deno,
    [
      "eval",
      `const l = Deno.dlopen(${JSON.stringify(library)}, { pool_take: { parameters: ["i32", "i32"], result: "i32" } });
console.log(l.symbols.pool_take(1, 2))`,
    ],
    { encoding: "utf8" },
  );
  assertEquals(stdout, "1\n", stderr);
});

test("TRACEMALLOC=NFRAME and the preload module start tracing before the program", () => {
  const program = `import { getTracebackLimit, isTracing } from ${
    JSON.stringify(`file://${root}lib/tracer/tracing.ts`)
  };
console.log(isTracing() ? getTracebackLimit() : "off");`;
  const run = (value: string | undefined) => {
    const { TRACEMALLOC: _, ...env } = process.env;
    return spawnSync(
      onDeno ? deno : process.execPath,
      onDeno
        ? [
          "run",
          "-A",
          `--preload=${root}lib/runtime/preload.ts`,
          `data:text/javascript,${encodeURIComponent(program)}`,
        ]
        : onNode
        ? [`--import=${root}lib/runtime/preload.ts`, "--input-type=module", "-e", program]
        : ["--preload", `${root}lib/runtime/preload.ts`, "-e", program],
      { encoding: "utf8", env: value === undefined ? env : { ...env, TRACEMALLOC: value } },
    );
  };
  for (const [value, output] of [[undefined, "off"], ["", "off"], ["0", "off"], ["1", "1"], ["25", "25"]] as const) {
    const { status, stdout, stderr } = run(value);
    assertEquals([status, stdout, stderr], [0, `${output}\n`, ""]);
  }
  for (const value of ["x", "-1", "65536", "1.5"]) {
    const { status, stdout, stderr } = run(value);
    assertEquals([status, stdout], [1, ""]);
    assertMatch(stderr, /^tracemalloc: TRACEMALLOC must be a number of frames from 1 to 65535, or 0 .*\n$/);
  }
});
