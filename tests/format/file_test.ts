import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { SnapshotFormatError, TracemallocError } from "../../lib/model/errors.ts";
import { dumpSnapshot, loadSnapshot, openReplacement, readChunks, replaceFile } from "../../lib/format/file.ts";
import { columnsOf, meaning } from "./snapshots.ts";

const columns = columnsOf([{ domain: 0, size: 1_999_993, count: 1, frames: [["a.ts", 1]], total: 1 }]);
const text = (value: string) => new TextEncoder().encode(value);

/** Runs with a folder of its own, in which nothing but `left` may be at the end. */
function inFolder(left: readonly string[], run: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-"));
  try {
    run(folder);
    assertEquals(readdirSync(folder).sort(), left);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("a dumped file is loaded", () => {
  inFolder(["a.tracemalloc"], (folder) => {
    const path = join(folder, "a.tracemalloc");
    dumpSnapshot(path, columns, { pid: 3 });
    const read = loadSnapshot(path);
    assertEquals(meaning(read.columns), meaning(columns));
    assertEquals(read.metadata, { pid: 3 });
    assertEquals(statSync(path).mode & 0o777, 0o600);
  });
});

test("a file that is replaced keeps its permissions", () => {
  inFolder(["a"], (folder) => {
    const path = join(folder, "a");
    writeFileSync(path, "old");
    chmodSync(path, 0o644);
    dumpSnapshot(path, columns, {});
    assertEquals(statSync(path).mode & 0o777, 0o644);
    assertEquals(meaning(loadSnapshot(path).columns), meaning(columns));
  });
});

test("through a symbolic link the file behind it is replaced", () => {
  inFolder(["file", "link"], (folder) => {
    writeFileSync(join(folder, "file"), "old");
    symlinkSync("file", join(folder, "link"));
    dumpSnapshot(join(folder, "link"), columns, {});
    assert(lstatSync(join(folder, "link")).isSymbolicLink());
    assertEquals(meaning(loadSnapshot(join(folder, "file")).columns), meaning(columns));
  });
});

test("a dump that fails half-way leaves the old file and nothing else", () => {
  inFolder(["a"], (folder) => {
    const path = join(folder, "a");
    writeFileSync(path, "old");
    const fault = new Error("half-way");
    const error = assertThrows(() =>
      replaceFile(path, (sink) => {
        sink.write(text("new, but not all"));
        throw fault;
      })
    );
    assertEquals(error, fault);
    assertEquals(readFileSync(path, "utf8"), "old");
    assertThrows(() => dumpSnapshot(path, { ...columns, traceSize: Float64Array.of(0.5) }, {}), RangeError);
    assertEquals(readFileSync(path, "utf8"), "old");
  });
});

test("until it is committed a replacement is not to be seen", () => {
  inFolder(["a"], (folder) => {
    const path = join(folder, "a");
    writeFileSync(path, "old");
    const replacement = openReplacement(path);
    replacement.write(text("new"));
    assertEquals(readFileSync(path, "utf8"), "old");
    replacement.commit();
    assertEquals(readFileSync(path, "utf8"), "new");
    replacement.abort();
    assertEquals(readFileSync(path, "utf8"), "new");
  });
});

test("a folder, a missing folder and a file in the place of a folder are told", () => {
  inFolder(["file", "folder"], (folder) => {
    mkdirSync(join(folder, "folder"));
    writeFileSync(join(folder, "file"), "old");
    const dump = (name: string) => assertThrows(() => dumpSnapshot(join(folder, name), columns, {}), TracemallocError);
    const load = (name: string) => assertThrows(() => loadSnapshot(join(folder, name)), TracemallocError);
    const expected: [TracemallocError, string, string][] = [
      [dump("folder"), "EISDIR", `cannot write ${folder}/folder: it is a folder; give the path of a file`],
      [dump("no/a"), "ENOENT", `cannot write ${folder}/no/a: the folder ${folder}/no does not exist; create it`],
      [dump("file/a"), "ENOTDIR", `cannot write ${folder}/file/a: a part of the path is a file`],
      [load("folder"), "EISDIR", `cannot read ${folder}/folder: it is a folder`],
      [load("none"), "ENOENT", `cannot read ${folder}/none: there is no such file`],
    ];
    for (const [error, code, message] of expected) {
      assertEquals(error.code, code);
      assertStringIncludes(error.message, message);
    }
  });
});

test("a full disk is told, and what is no regular file is written to as it is", () => {
  const error = assertThrows(() => dumpSnapshot("/dev/full", columns, {}), TracemallocError);
  assertEquals(error.code, "ENOSPC");
  assertStringIncludes(error.message, "cannot write /dev/full: the disk is full");
  dumpSnapshot("/dev/null", columns, {});
  assert(statSync("/dev/null").isCharacterDevice());
});

test("missing permissions are told", { skip: process.getuid?.() === 0 }, () => {
  inFolder(["locked"], (folder) => {
    mkdirSync(join(folder, "locked"), { mode: 0o500 });
    const error = assertThrows(() => dumpSnapshot(join(folder, "locked", "a"), columns, {}), TracemallocError);
    assertEquals(error.code, "EACCES");
    assertStringIncludes(error.message, "permission denied");
  });
});

test("errors of the format name the file", () => {
  inFolder(["a"], (folder) => {
    const path = join(folder, "a");
    writeFileSync(path, "PK\x03\x04");
    const error = assertThrows(() => loadSnapshot(path), SnapshotFormatError);
    assertStringIncludes(error.message, `${path}: not a snapshot file`);
    assertEquals(error.offset, 0);
  });
});

test("a file is read in pieces, and closed when nobody wants more", () => {
  inFolder(["a"], (folder) => {
    const path = join(folder, "a");
    writeFileSync(path, new Uint8Array(600_000).fill(7));
    let length = 0;
    for (const chunk of readChunks(path)) length += chunk.length;
    assertEquals(length, 600_000);
    const open = () => readdirSync("/proc/self/fd").length;
    const before = open();
    for (const _ of readChunks(path)) break;
    assertEquals(open(), before);
  });
});
