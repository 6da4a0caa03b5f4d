/** The domains of Bun that are not blocks of an allocator: buffers at the level of JavaScript, objects by type. */
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { DomainFilter, Snapshot } from "../../mod.ts";
import { bun, bunWithoutHooks, testedBuns } from "./buns.ts";
import { inFolder, root } from "./programs.ts";

function run(executable: string, args: readonly string[], env: Record<string, string> = {}): string {
  const { status, signal, stdout, stderr } = spawnSync(executable, args, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  assertEquals([status, signal], [0, null], stderr);
  return stdout;
}

test("buffers have their lines where the allocator has no hooks, are forgotten, and all is put back", () => {
  const output = run(bunWithoutHooks(), [`${root}tests/tracer/bun_buffers.ts`], {
    BUN_JSC_useTailCalls: "0",
  });
  assertEquals(JSON.parse(output), []);
});

test("buffers are traced by default where the allocator has no hooks, and info says so", () => {
  inFolder((folder) => {
    const script = `${folder}/program.ts`, path = `${folder}/snapshot`;
    writeFileSync(script, "globalThis.kept = [\n  new Uint8Array(1_999_939),\n  Buffer.alloc(1_999_941)];\n");
    const cli = (...args: string[]) => run(bunWithoutHooks(), [`${root}cli.ts`, ...args]);
    cli("run", "-o", path, script);
    assertEquals(
      [1_999_939, 1_999_941].map((size) =>
        [...Snapshot.load(path).traces].filter((trace) => trace.size === size).map((trace) =>
          `${trace.domain} ${trace.traceback}`
        )
      ),
      [[`2 ${script}:2`], [`2 ${script}:3`]],
    );
    const info = cli("info", path);
    assertMatch(info, /^ {2}array-buffer +2 blocks/m);
    assertMatch(info, /^ {2}mimalloc +the memory that the runtime allocates by itself is not traced: /m);
    assertMatch(info, /^ {2}array-buffer +buffers that JavaScript makes/m);
    cli("run", "--domains", "native", "-o", path, script);
    assert(![...Snapshot.load(path).traces].some(({ domain }) => domain === 2));
  });
});

test('where the allocator is traced, the domain "array-buffer" is refused, and "native" named', () => {
  const program = `
    import { isTracing, start, UnsupportedError } from ${JSON.stringify(`${root}mod.ts`)};
    try {
      start(1, { domains: ["array-buffer"] });
    } catch (error) {
      console.log(error instanceof UnsupportedError, error.message, isTracing());
    }`;
  if (process.env["TRACED_BUN"]) return;
  assertEquals(
    run(bun, ["-e", program]),
    'true the domain "array-buffer" is for a Bun whose allocator cannot be traced: use "native", which has all buffers here false\n',
  );
  inFolder((folder) => {
    const script = `${folder}/program.ts`;
    writeFileSync(script, "");
    const args = [`${root}cli.ts`, "run", "--domains", "array-buffer", "-o", `${folder}/snapshot`, script];
    const { status, stderr } = spawnSync(bun, args, { encoding: "utf8" });
    assertEquals(status, 1);
    assertMatch(stderr, /^tracemalloc run: the domain "array-buffer" is for .*: use "native"/m);
  });
});

for (const { name, bun } of testedBuns()) {
  test(`objects of the engine's heap, by type: ${name}`, () => {
    inFolder((folder) => {
      const script = `${folder}/program.ts`, path = `${folder}/snapshot`;
      writeFileSync(
        script,
        `class Sample { a = 1; }
globalThis.kept = Array.from({ length: 20_011 }, () => new Sample());
globalThis.strings = Array.from({ length: 30_011 }, (_, i) => "string" + i);
globalThis.numbers = Array.from({ length: 1_000_003 }, (_, i) => i);`,
      );
      run(bun, [`${root}cli.ts`, "run", "--domains", "js-heap", "-o", path, script]);
      const snapshot = Snapshot.load(path), byType = new Map<string, { size: number; count: number }>();
      assert(snapshot.traces.length > 50_000);
      for (const { traceback, size, count } of snapshot.statistics("lineno")) {
        assertEquals([traceback.length, traceback.at(0)!.lineno], [1, 0]);
        byType.set(traceback.at(0)!.filename, { size, count });
      }
      assert(!snapshot.filterTraces([new DomainFilter(false, 1)]).traces.length);
      const sample = byType.get("<Sample>")!, strings = byType.get("<string>")!;
      assertEquals(sample.count, 20_011);
      assert(sample.size >= 20_011 * 16 && sample.size <= 20_011 * 128, String(sample.size));
      assert(strings.count >= 30_011, String(strings.count));
      const elements = byType.get("<elements and properties>")!;
      // A difference of two sums of the engine, which are not of the same memory to the last byte (lib/runtime/jsc_heap.ts).
      const truth = (20_011 + 30_011 + 1_000_003) * 8;
      assert(elements.size > truth * 0.95 && elements.size < truth * 1.1, `${elements.size} of ${truth}`);
      assertMatch(run(bun, [`${root}cli.ts`, "info", path]), /^ {2}js-heap +all objects by type, without lines$/m);
      run(bun, [`${root}cli.ts`, "run", "--domains", "native,js-heap", "-o", path, script]);
      const domains = new Set(
        [...Snapshot.load(path).statistics("filename")].map(({ traceback }) => traceback.at(0)!.filename),
      );
      assert(domains.has("<Sample>"));
    });
  });
}
