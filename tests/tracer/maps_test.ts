import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import {
  clearTraces,
  Domain,
  DomainFilter,
  getObjectTraceback,
  getTracedMemory,
  Snapshot,
  start,
  stop,
  takeSnapshot,
} from "@x/tracemalloc";
import { buildNativeLibraries } from "../../tools/native_libraries.mjs";
import { deno } from "./deno.ts";
import { openLibrary } from "./ffi.ts";

// The mmap domain: anonymous mappings that can be accessed, by the line that made them so.

const here = fileURLToPath(import.meta.url);
const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-maps-"));
after(() => rmSync(folder, { recursive: true }));

buildNativeLibraries();
const native = openLibrary(`${root}.build/tests/native/libmaps.so`, {
  map_pages: 3,
  map_over: 4,
  map_file_over: 3,
  unmap_pages: 3,
  unmap_roughly: 3,
  protect_pages: 4,
  fail_to_unmap: 1,
  remap_pages: 3,
  remap_into: 4,
  discard_pages: 3,
  touch_pages: 3,
  churn: 1,
});

/** Calls functions of the library one after the other; each is to succeed. */
function call(...results: readonly number[]): void {
  assertEquals(results, results.map(() => 0));
}

function thisLine(): number {
  return Number(/:(\d+):\d+\)?$/.exec(new Error().stack!.split("\n")[2]!)![1]);
}

const onlyMaps = new DomainFilter(true, Domain.mmap);

/** Pages by the lines of this file that own them, from `first` on: `line − first: sizes of its blocks`. */
function ownedFrom(first: number): Record<number, number[]> {
  const owned: Record<number, number[]> = {};
  for (const { size, traceback } of takeSnapshot().filterTraces([onlyMaps]).traces) {
    const { filename, lineno } = traceback.at(-1)!;
    if (filename === here && lineno >= first) (owned[lineno - first] ??= []).push(size / 4096);
  }
  for (const sizes of Object.values(owned)) sizes.sort((a, b) => a - b);
  return owned;
}

function traced(work: () => void, domains: readonly ("native" | "mmap")[] = ["mmap"]): void {
  start(1, { domains });
  try {
    work();
  } finally {
    stop();
  }
}

test("what is mapped is the line's, and what is unmapped is gone, in part or as a whole", () =>
  traced(() => {
    const line = thisLine() + 1;
    call(native.map_pages(0, 100, 1)); // 0
    call(native.map_pages(1, 200, 1)); // 1
    assertEquals(ownedFrom(line), { 0: [100], 1: [200] });
    call(native.unmap_pages(0, 10, 20), native.unmap_pages(0, 0, 1));
    assertEquals(ownedFrom(line), { 0: [9, 70], 1: [200] });
    call(native.fail_to_unmap(0));
    call(native.unmap_roughly(0, 99, 1), native.unmap_pages(1, 0, 200));
    assertEquals(ownedFrom(line), { 0: [9, 69] });
    // Whatever is there any more, and more: that succeeds, as it does untraced.
    call(native.unmap_pages(0, 0, 100));
    assertEquals(ownedFrom(line), {});
  }));

test("what is mapped over others takes their place", () =>
  traced(() => {
    const line = thisLine() + 1;
    call(native.map_pages(0, 100, 1)); // 0
    call(native.map_over(0, 40, 5, 1)); // 1
    call(native.map_file_over(0, 50, 7), native.map_over(0, 90, 3, 0)); // a file, and a reservation
    assertEquals(ownedFrom(line), { 0: [5, 7, 33, 40], 1: [5] });
    call(native.unmap_pages(0, 0, 100));
    assertEquals(ownedFrom(line), {});
  }));

test("reserved address space is nobody's memory until it is opened, by the line that opens it", () =>
  traced(() => {
    const [before] = getTracedMemory();
    const line = thisLine() + 1;
    call(native.map_pages(0, 1 << 20, 0)); // 4 GiB
    assertEquals(ownedFrom(line), {});
    call(native.protect_pages(0, 1000, 50, 1)); // 2
    call(native.protect_pages(0, 990, 30, 1)); // 3: of which 20 are open
    call(native.protect_pages(0, 990, 100, 1)); // 4: of which 60 are
    assertEquals(ownedFrom(line), { 2: [50], 3: [10], 4: [40] });
    assert(getTracedMemory()[0] - before < 1 << 30, "the reservation counts");
    call(native.protect_pages(0, 1010, 20, 0)); // closed again
    assertEquals(ownedFrom(line), { 2: [10, 20], 3: [10], 4: [40] });
    call(native.protect_pages(0, 0, 1 << 20, 0));
    assertEquals(ownedFrom(line), {});
    call(native.protect_pages(0, 7, 3, 1)); // 11
    assertEquals(ownedFrom(line), { 11: [3] });
    call(native.unmap_pages(0, 0, 1 << 20));
    assertEquals(ownedFrom(line), {});
  }));

test("as with realloc, the line that asks for another size has all of it", () =>
  traced(() => {
    const line = thisLine() + 1;
    call(native.map_pages(0, 100, 1), native.map_pages(1, 64, 1)); // 0
    call(native.remap_pages(0, 100, 300)); // 1
    assertEquals(ownedFrom(line), { 0: [64], 1: [300] });
    call(native.remap_pages(0, 300, 30)); // 3
    assertEquals(ownedFrom(line), { 0: [64], 3: [30] });
    call(native.remap_into(0, 30, 1, 10)); // 5
    assertEquals(ownedFrom(line), { 0: [10, 24], 5: [30] });
    call(native.unmap_pages(1, 0, 64));
    assertEquals(ownedFrom(line), {});
  }));

test("of what was given back whole counts what is in memory, and of a part all", () =>
  traced(() => {
    const line = thisLine() + 1;
    call(native.map_pages(0, 5000, 1)); // 0
    call(native.map_pages(1, 50, 1), native.touch_pages(1, 0, 50)); // 1
    call(native.discard_pages(0, 0, 5000), native.discard_pages(1, 10, 10));
    assertEquals(ownedFrom(line), { 1: [50] });
    call(native.touch_pages(0, 17, 3), native.touch_pages(0, 4000, 4));
    assertEquals(ownedFrom(line), { 0: [7], 1: [50] });
    call(native.unmap_pages(0, 0, 4000), native.unmap_pages(1, 0, 50));
    assertEquals(ownedFrom(line), { 0: [4] });
    call(native.unmap_pages(0, 4000, 1000));
  }));

test("what was reserved before the start is known, and what was mapped before is nobody's", () => {
  call(native.map_pages(0, 1000, 0), native.map_pages(1, 77, 1), native.map_pages(2, 88, 1));
  traced(() => {
    const line = thisLine() + 1;
    call(native.protect_pages(0, 0, 10, 1)); // 0
    call(native.protect_pages(1, 0, 10, 0), native.protect_pages(1, 0, 10, 1)); // 1
    assertEquals(ownedFrom(line), { 0: [10], 1: [10] });
    clearTraces();
    assertEquals(ownedFrom(line), {});
    call(native.protect_pages(0, 0, 12, 1)); // 5
    assertEquals(ownedFrom(line), { 5: [2] });
    call(native.unmap_pages(0, 0, 1000), native.unmap_pages(1, 0, 77), native.unmap_pages(2, 0, 88));
  });
});

test("threads that map at once leave nothing, while snapshots are taken; sums are those of the snapshot", () =>
  traced(() => {
    for (let round = 0; round < 3; round++) {
      call(native.churn(6));
      takeSnapshot();
    }
    const all = takeSnapshot();
    const [current] = getTracedMemory();
    const sum = [...all.traces].reduce((sum, { size }) => sum + size, 0);
    // Between the two the engine may open or close pages of its heap.
    assert(Math.abs(sum - current) < 64 << 20, `${sum} in the snapshot, ${current} traced`);
    assertEquals(
      all.filterTraces([onlyMaps]).statistics("lineno").filter(({ traceback }) =>
        String(traceback).includes("maps.so")
      ),
      [],
    );
  }));

test("domains are told apart: what is asked for is what there is", () => {
  const kept: unknown[] = [];
  for (const domains of [["mmap"], ["native"], ["native", "mmap"]] as const) {
    traced(() => {
      const line = thisLine() + 1;
      kept.push(new Uint8Array(40_009));
      call(native.map_pages(0, 11, 1));
      const found = [...takeSnapshot().traces].filter(({ traceback: [frame] }) =>
        frame!.filename === here && (frame!.lineno === line || frame!.lineno === line + 1)
      ).filter(({ size }) => size === 40_009 || size === 11 * 4096);
      const names = found.map(({ domain }) => Object.entries(Domain).find(([, number]) => number === domain)![0]);
      assertEquals(names.sort(), [...domains].sort());
      call(native.unmap_pages(0, 0, 11));
    }, domains);
  }
  assert(kept.length === 3);
});

test("memories of WebAssembly: what was opened when they were made and when they grew", () =>
  traced(() => {
    const line = thisLine() + 1;
    const memory = new WebAssembly.Memory({ initial: 10, maximum: 1000 });
    memory.grow(33); // 2
    const owned = ownedFrom(line);
    assertEquals(owned[1], [33 * 16]);
    if ("Bun" in globalThis) return; // whose engine has pages of its own before them
    assertEquals(owned[0], [10 * 16]);
    assertEquals(String(getObjectTraceback(memory.buffer)), `${here}:${line}`);
  }));

test("`run --domains native,mmap`: the engine's heap by the lines that made it grow; `top --domain mmap`", () => {
  const program = join(folder, "heap.js"), output = join(folder, "snapshot");
  writeFileSync(
    program,
    `const kept = globalThis.kept = [];
function grow() {
  for (let i = 0; i < 1_000_000; i++) kept.push({ i });
}
grow();
kept.push(new Uint8Array(40_011));
`,
  );
  const cli = (...args: string[]) =>
    spawnSync(deno, ["run", "-A", `${root}cli.ts`, ...args], { encoding: "utf8", env: process.env, cwd: folder });
  const ran = cli("run", "--domains", "native,mmap", "-o", output, program);
  assertEquals(ran.status, 0, ran.stderr);
  const snapshot = Snapshot.load(output), maps = snapshot.filterTraces([onlyMaps]);
  const heap = maps.statistics("lineno").filter(({ traceback }) => traceback.at(0)!.filename === program);
  const sizes = new Map(heap.map(({ traceback, size }) => [traceback.at(0)!.lineno, size]));
  assert((sizes.get(3) ?? 0) > 16_000_000, `${[...sizes]}`);
  assert([...snapshot.traces].some(({ domain, size }) => domain === Domain.native && size === 40_011));
  // V8 reserves hundreds of megabytes for code alone.
  const all = [...maps.traces].reduce((sum, { size }) => sum + size, 0);
  assert(all < 300_000_000, `${all} bytes`);
  const top = cli("top", "--domain", "mmap", "-n", "1", output);
  assertMatch(top.stdout, /^Top 1 lines\n#1: [^\n]*\/heap\.js:3: size=\d+/);
  const alone = cli("run", "--domains", "mmap", "-o", output, program);
  assertEquals(alone.status, 0, alone.stderr);
  assertEquals([...new Set([...Snapshot.load(output).traces].map(({ domain }) => domain))], [Domain.mmap]);
});
