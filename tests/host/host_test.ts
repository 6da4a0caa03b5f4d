import { mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { test } from "node:test";
import { assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { join, toFileUrl } from "@std/path";
import { Frame, Snapshot, SnapshotFormatError, Trace, Traceback, TracemallocError } from "../../mod.ts";

/** Runs with a folder that exists only meanwhile. */
async function inFolder(run: (folder: string) => void | Promise<void>): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-"));
  try {
    await run(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const snapshot = new Snapshot([
  new Trace(0, 64, new Traceback([new Frame("a.ts", 1), new Frame("😀\ud800.ts", 2)], 5)),
  new Trace(16, 2 ** 50, new Traceback([])),
], 7);

function shown({ traces, tracebackLimit }: Snapshot): unknown {
  return [
    tracebackLimit,
    Array.from(
      traces,
      ({ domain, size, traceback }) => [domain, size, traceback.totalNframe, [...traceback].map(String)],
    ).sort(),
  ];
}

test("dump then load is the same, by path and by URL", () =>
  inFolder((folder) => {
    const path = join(folder, "a b.tracemalloc");
    snapshot.dump(path);
    assertEquals(shown(Snapshot.load(path)), shown(snapshot));
    snapshot.filterTraces([]).dump(toFileUrl(path));
    assertEquals(shown(Snapshot.load(toFileUrl(path))), shown(snapshot));
  }));

test("toStream then fromStream is the same", async () => {
  assertEquals(shown(await Snapshot.fromStream(snapshot.toStream())), shown(snapshot));
  const bytes = new Uint8Array(await new Response(snapshot.toStream()).arrayBuffer());
  await assertRejects(
    () => Snapshot.fromStream(new Response(bytes.subarray(0, bytes.length - 1)).body!),
    SnapshotFormatError,
  );
});

test("of a cut file what is whole is read when asked for, and what is missing is said", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.tracemalloc");
    snapshot.dump(path);
    const whole = readFileSync(path);
    assertEquals([Snapshot.load(path, { partial: true }).damage, snapshot.damage], [null, null]);
    // All but the last of the traces' bytes.
    writeFileSync(path, whole.subarray(0, -30));
    const streamed = () => new Response(whole.subarray(0, -30)).body!;
    for (const options of [{}, { partial: false }]) {
      assertThrows(() => Snapshot.load(path, options), SnapshotFormatError, "cut or damaged");
      await assertRejects(() => Snapshot.fromStream(streamed(), options), SnapshotFormatError, "cut or damaged");
    }
    for (
      const part of [Snapshot.load(path, { partial: true }), await Snapshot.fromStream(streamed(), { partial: true })]
    ) {
      assertEquals(shown(part), shown(snapshot));
      assertMatch(part.damage!.text, /^at byte \d+ there should be more messages and a footer, but there is the end/);
      assertEquals(part.damage!.text.startsWith(`at byte ${part.damage!.offset} `), true);
    }
    // Cut before the traces: there are none, and the limit is what the metadata, which come early, say.
    writeFileSync(path, whole.subarray(0, 300));
    assertEquals(shown(Snapshot.load(path, { partial: true })), [7, []]);
    // deno-lint-ignore no-explicit-any
    assertThrows(() => Snapshot.load(path, { partial: 1 as any }), TypeError, "partial must be a boolean");
    // What is no snapshot at all is none in part either.
    writeFileSync(path, "PK");
    assertThrows(() => Snapshot.load(path, { partial: true }), SnapshotFormatError, "not a snapshot file");
  }));

test("what cannot be written or read is said", () =>
  inFolder((folder) => {
    const missing = assertThrows(() => Snapshot.load(join(folder, "none")), TracemallocError);
    assertEquals(missing.code, "ENOENT");
    assertThrows(() => snapshot.dump(join(folder, "none", "a")), TracemallocError);
    // deno-lint-ignore no-explicit-any
    assertThrows(() => snapshot.dump(7 as any), TypeError, "path must be a string");
    assertThrows(() => snapshot.dump(new URL("http://localhost/a")), TypeError);
  }));

test("source lines are read, and read again when the file has changed", () =>
  inFolder((folder) => {
    const path = join(folder, "a.ts");
    const format = (filename: string, lineno = 2) => new Traceback([new Frame(filename, lineno)]).format().slice(1);
    assertEquals(format(path), []);
    writeFileSync(path, "\ufefffirst\n  second\r\n");
    assertEquals(format(path), ["    second"]);
    assertEquals(format(toFileUrl(path).href, 1), ["    first"]);
    writeFileSync(path, "first\n  other!\r\n");
    utimesSync(path, 1, 1);
    assertEquals(format(path), ["    other!"]);
    // The same size, another time.
    writeFileSync(path, "first\n  newest\r\n");
    utimesSync(path, 2, 2);
    assertEquals(format(path), ["    newest"]);
    rmSync(path);
    assertEquals(format(path), []);
  }));

test("what is no file has no source lines", () => {
  for (
    const filename of ["<anonymous>", "node:fs", "npm:chalk@5", "https://localhost/a.ts", "file://%", "", ".", "a\0b"]
  ) {
    assertEquals(new Traceback([new Frame(filename, 1)]).format().length, 1, filename);
  }
});
