import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { Builder } from "flatbuffers";
import { test } from "node:test";
import { SnapshotFormatError } from "../../lib/model/errors.ts";
import { Header } from "../../lib/format/generated/header.ts";
import { Message } from "../../lib/format/generated/message.ts";
import { readSnapshot } from "../../lib/format/reader.ts";
import { snapshotBytes } from "../../lib/format/writer.ts";
import { fileOf, recordsOf } from "./records.ts";
import { columnsOf, meaning } from "./snapshots.ts";

const traces = Array.from({ length: 40_000 }, (_, i) => ({
  domain: 0,
  size: 8 * (i % 50),
  count: 1,
  frames: [["a.ts", i]] as const,
  total: 1,
}));
const columns = columnsOf(traces);
const file = snapshotBytes(columns, { runtime: "bun" });
const small = snapshotBytes(columnsOf(traces.slice(0, 9)), { runtime: "bun" });

function refused(bytes: Uint8Array): SnapshotFormatError {
  return assertThrows(() => readSnapshot(bytes), SnapshotFormatError);
}

test("a file cut anywhere is refused, and in part gives what is whole", () => {
  for (let length = 8; length < small.length; length++) {
    const cut = small.subarray(0, length);
    assertStringIncludes(refused(cut).message, "cut or damaged");
    const { totals, damage } = readSnapshot(cut, { partial: true });
    assert(damage !== null);
    assert(damage.offset <= length);
    assertEquals(totals.rows === 0 || totals.rows === 9, true);
  }
});

test("of a cut file the whole batches are there, and what is missing is said", () => {
  const last = recordsOf(file).findLast(({ message }) => message.length > 1000)!;
  const cut = file.subarray(0, last.offset + 100);
  const { columns: part, damage, totals, metadata } = readSnapshot(cut, { partial: true });
  assertEquals(totals.rows, 32_768);
  assertEquals(metadata.runtime, "bun");
  assertEquals(part.traceSize, columns.traceSize.subarray(0, 32_768));
  assertEquals(damage, {
    offset: last.offset,
    text: `at byte ${last.offset} there should be more messages and a footer, but there is ` +
      `the end of the file after 100 bytes`,
  });
});

test("a wrong checksum is damage", () => {
  const record = recordsOf(file)[4]!;
  const bad = file.slice();
  bad[record.offset + 20]! ^= 1;
  assertEquals(refused(bad).offset, record.offset);
  assertEquals(readSnapshot(bad, { partial: true }).damage!.offset, record.offset);
});

test("bytes behind the end are damage", () => {
  const longer = new Uint8Array(small.length + 3);
  longer.set(small);
  assertStringIncludes(refused(longer).message, "the end of the file, but there is 3 bytes");
});

test("a foreign file is named so, in part too", () => {
  for (const text of ["", "PK\x03\x04 and so on", "\x89TMS", "{}"]) {
    const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
    for (const partial of [false, true]) {
      const error = assertThrows(() => readSnapshot(bytes, { partial }), SnapshotFormatError);
      assertStringIncludes(error.message, "not a snapshot file");
    }
  }
});

test("a file whose line ends were changed is named so", () => {
  const changed = Uint8Array.from([...small].filter((byte, i) => i > 10 || byte !== 13));
  assertEquals(refused(changed).offset, 5);
});

test("a newer major version is refused by name", () => {
  const newer = small.slice();
  newer[4] = "2".charCodeAt(0);
  assertStringIncludes(refused(newer).message, "major version 2 of the format and this library reads version 1");
});

test("a newer minor version is read, with messages and fields that are not known", () => {
  const messages = recordsOf(small).map(({ message }) => message);
  const builder = new Builder();
  const future = builder.createByteVector(new Uint8Array(100));
  builder.startObject(12);
  builder.addFieldOffset(11, future, 0);
  finish(builder, builder.endObject());
  const unknown = builder.asUint8Array().slice();
  builder.clear();
  const extra = builder.createString("new");
  builder.startObject(5);
  builder.addFieldInt16(0, 7, 0);
  builder.addFieldOffset(4, extra, 0);
  const header = builder.endObject() as number;
  Message.startMessage(builder);
  Message.addHeader(builder, header);
  finish(builder, Message.endMessage(builder));
  const read = readSnapshot(
    fileOf([builder.asUint8Array(), unknown, ...messages.slice(1, -1), unknown, messages.at(-1)!]),
  );
  assertEquals(meaning(read.columns), meaning(columnsOf(traces.slice(0, 9))));
});

function finish(builder: Builder, table: number): void {
  builder.prep(8, 4);
  builder.finish(table);
}

test("messages in a wrong order, twice or missing are refused", () => {
  const messages = recordsOf(small).map(({ message }) => message);
  const [header, metadata, strings, frames, nodes, tracebacks, rows, footer] = messages as [
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
    Uint8Array,
  ];
  const faults: [string, Uint8Array[]][] = [
    ["the first message should be a header", messages.slice(1)],
    ["a second header", [header, ...messages]],
    ["a second metadata message", [header, metadata, ...messages.slice(1)]],
    ["refers to what the file does not have", [header, metadata, frames, strings, nodes, tracebacks, rows, footer]],
    ["refers to what the file does not have", [header, metadata, strings, frames, nodes, rows, tracebacks, footer]],
    ["the footer counts 9 rows, but there are 18", [...messages.slice(0, -1), rows, footer]],
    ["no metadata", [header, strings, frames, nodes, tracebacks, rows, footer]],
  ];
  for (const [fault, order] of faults) assertStringIncludes(refused(fileOf(order)).message, fault);
});

test("an empty header is enough, an empty message is skipped", () => {
  const builder = new Builder();
  Header.startHeader(builder);
  const header = Header.endHeader(builder);
  Message.startMessage(builder);
  Message.addHeader(builder, header);
  finish(builder, Message.endMessage(builder));
  const messages = recordsOf(small).map(({ message }) => message);
  const read = readSnapshot(fileOf([builder.asUint8Array(), ...messages.slice(1)]));
  assertEquals(read.totals.rows, 9);
});
