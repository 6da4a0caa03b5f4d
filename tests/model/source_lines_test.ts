import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { Frame } from "../../lib/model/frame.ts";
import { useSourceFiles } from "../../lib/model/source_lines.ts";
import { Traceback } from "../../lib/model/traceback.ts";

/** Files by name, which can be changed, and the names of those that were read. */
function filesInMemory(): { files: Map<string, { version: string; text: string | undefined }>; reads: string[] } {
  const files = new Map<string, { version: string; text: string | undefined }>();
  const reads: string[] = [];
  useSourceFiles({
    version: (filename) => files.get(filename)?.version,
    read: (filename) => {
      reads.push(filename);
      return files.get(filename)?.text;
    },
  });
  return { files, reads };
}

/** What is shown below the frame. */
function shown(filename: string, lineno = 1): string[] {
  return new Traceback([new Frame(filename, lineno)]).format().slice(1);
}

test("a file is read when it is first shown and when it has changed", () => {
  const { files, reads } = filesInMemory();
  files.set("a", { version: "1", text: "one\r\n\ttwo \rthree\n" });
  assertEquals([shown("a"), shown("a", 2), shown("a", 3)], [["    one"], ["    two"], ["    three"]]);
  assertEquals([shown("a", 0), shown("a", 4), shown("a", 5)], [[], [], []]);
  assertEquals(reads, ["a"]);
  files.set("a", { version: "2", text: "other" });
  assertEquals([shown("a"), shown("a", 2)], [["    other"], []]);
  assertEquals(reads, ["a", "a"]);
});

test("a file that was away is read again, even if it looks the same", () => {
  const { files, reads } = filesInMemory();
  files.set("a", { version: "1", text: "one" });
  assertEquals(shown("a"), ["    one"]);
  files.delete("a");
  assertEquals(shown("a"), []);
  files.set("a", { version: "1", text: "two" });
  assertEquals(shown("a"), ["    two"]);
  assertEquals(reads, ["a", "a"]);
});

test("a file that cannot be read has no lines, and is not tried again", () => {
  const { files, reads } = filesInMemory();
  files.set("a", { version: "1", text: undefined });
  assertEquals([shown("a"), shown("a")], [[], []]);
  assertEquals(reads, ["a"]);
});

test("the 64 files that were shown last are kept", () => {
  const { files, reads } = filesInMemory();
  const names = Array.from({ length: 65 }, (_, i) => `file ${i}`);
  for (const name of names) files.set(name, { version: "1", text: name });
  for (const name of names.slice(0, 64)) shown(name);
  for (const name of names.slice(0, 64)) assertEquals(shown(name), [`    ${name}`]);
  assertEquals(reads, names.slice(0, 64));
  shown(names[0]!);
  shown(names[64]!);
  shown(names[0]!);
  assertEquals(reads, names, "the first file was shown just before the 65th");
  shown(names[1]!);
  assertEquals(reads, [...names, names[1]!], "the second file has made room for the 65th");
});

test("what was read by others is forgotten", () => {
  const first = filesInMemory();
  first.files.set("a", { version: "1", text: "first" });
  assertEquals(shown("a"), ["    first"]);
  const second = filesInMemory();
  second.files.set("a", { version: "1", text: "second" });
  assertEquals(shown("a"), ["    second"]);
  useSourceFiles(undefined);
  assertEquals(shown("a"), []);
});
