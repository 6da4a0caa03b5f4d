import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { loadPickle } from "../../lib/format/file.ts";
import { readPickle } from "../../lib/format/pickle.ts";
import type { SnapshotColumns } from "../../lib/model/columns.ts";
import { SnapshotFormatError } from "../../lib/model/errors.ts";
import { snapshotFromColumns } from "../../lib/model/snapshot.ts";

const folder = fileURLToPath(new URL("pickles/", import.meta.url));

/** What trace.py says of a snapshot. */
function answers(columns: SnapshotColumns): Record<string, unknown> {
  const snapshot = snapshotFromColumns(columns);
  return {
    limit: snapshot.tracebackLimit,
    traces: Array.from(snapshot.traces, ({ domain, size, traceback }) => [
      domain,
      size,
      traceback.totalNframe,
      Array.from(traceback, ({ filename, lineno }) => [filename, lineno]),
    ]),
    filename: snapshot.statistics("filename").map(String),
    lineno: snapshot.statistics("lineno").map(String),
    traceback: snapshot.statistics("traceback").map(String),
    cumulative: snapshot.statistics("lineno", true).map(String),
  };
}

function assertAnswers(path: string, json: string): void {
  const { version: _, ...expected } = JSON.parse(json);
  assertEquals(answers(loadPickle(path)), expected, path);
}

test("what CPython 3.10 to 3.14 traced and dumped is read, and gives their statistics", () => {
  const names = readdirSync(folder).filter((name) => name.endsWith(".pickle"));
  assertEquals(names.length, 5);
  for (const name of names) {
    assertAnswers(folder + name, readFileSync(folder + name.replace(".pickle", ".recorded.json"), "utf8"));
  }
});

test("random dumps of python3 are read, and give its statistics", { timeout: 300_000 }, (t) => {
  const count = Number(process.env["TRACEMALLOC_PICKLES"] ?? 60);
  const seed = Number(process.env["TRACEMALLOC_SEED"] ?? Date.now() % 2 ** 31);
  const dumps = mkdtempSync(join(tmpdir(), "tracemalloc-pickles-"));
  try {
    const { error, status, stdout, stderr } = spawnSync(
      "python3",
      ["-B", `${folder}random_dumps.py`, dumps, String(count), String(seed)],
      { encoding: "utf8", maxBuffer: 2 ** 30 },
    );
    if (error !== undefined && (error as { code?: string }).code === "ENOENT") {
      t.skip("there is no python3");
      return;
    }
    assertEquals(status, 0, stderr);
    const lines = stdout.trimEnd().split("\n");
    assertEquals(lines.length, count);
    console.log(`pickles: ${count} dumps of seed ${seed}`);
    lines.forEach((line, i) => assertAnswers(join(dumps, `${i}.pickle`), line));
  } finally {
    rmSync(dumps, { recursive: true });
  }
});

const bytesOf = (text: string) => Uint8Array.from(text, (character) => character.charCodeAt(0));
const text = (value: string) => `\x8c${String.fromCharCode(value.length)}${value}`;

/** A pickle of protocol 4 around the instructions that make the sequence of traces. */
function pickle(traces: string, { limit = "K\x19", end = "." } = {}): Uint8Array {
  const object = (name: string) => `${text("tracemalloc")}${text(name)}\x93)\x81`;
  return bytesOf(
    `\x80\x04${object("Snapshot")}}(${text("traces")}${object("_Traces")}}${text("_traces")}${traces}sb` +
      `${text("traceback_limit")}${limit}ub${end}`,
  );
}

const frame = `${text("a.py")}K\x01\x86`;
const trace = `(K\x00K\x64${frame}\x85K\x05t`;

test("tracebacks that are empty, traces without a total, tuples, lists and pieces of any length", () => {
  const expected = [[0, 100, 5, [["a.py", 1]]]];
  for (const traces of [`${trace}\x85`, `]${trace}a`, `](${trace}e`, `](e(${trace}e`]) {
    assertEquals(answers(readPickle([pickle(traces)]))["traces"], expected);
    const pieces = Array.from(pickle(traces), (byte) => Uint8Array.of(byte));
    assertEquals(answers(readPickle(pieces))["traces"], expected);
  }
  assertEquals(answers(readPickle([pickle(")")]))["traces"], []);
  assertEquals(answers(readPickle([pickle("]")]))["limit"], 25);
  assertEquals(answers(readPickle([pickle(`]K\x00K\x07)\x87a`)]))["traces"], [[0, 7, null, []]]);
  assertEquals(answers(readPickle([pickle(`]${trace}\x94h\x00\x86`.replace("]", ""))]))["traces"], [
    ...expected,
    ...expected,
  ]);
});

function refused(bytes: Uint8Array): SnapshotFormatError {
  return assertThrows(() => readPickle([bytes]), SnapshotFormatError);
}

test("anything else is refused by name, and nothing is run", () => {
  const hostile: [Uint8Array, string][] = [
    [bytesOf(""), "at byte 0, the file ends too early"],
    [bytesOf("{}"), "at byte 0, there should be the protocol of a pickle (0x80), but there is 0x7b"],
    [bytesOf("\x80\x02."), "the protocol should be 4 or 5 and is 2"],
    [bytesOf("cos\nsystem\n(S'true'\ntR."), "there should be the protocol of a pickle (0x80), but there is 0x63"],
    // What pickle.dumps makes of an object whose __reduce__ is os.system, and the like.
    [bytesOf(`\x80\x04${text("posix")}${text("system")}\x93${text("true")}\x85R.`), 'the class "posix.system"'],
    [bytesOf(`\x80\x04cposix\nsystem\n.`), "at byte 2, there is the instruction GLOBAL"],
    [bytesOf(`\x80\x04${text("tracemalloc")}${text("start")}\x93)R.`), 'the class "tracemalloc.start"'],
    [pickle("]", { end: ")R." }), "the instruction REDUCE"],
    [pickle("]", { end: "" }), "the file ends too early"],
    [pickle("]", { end: ".x" }), "there should be the end of the file"],
    [pickle("]", { end: "(." }), "an instruction needs 1 values, and there are less"],
    [pickle("]", { end: "\xff" }), "there is the instruction 0xff"],
    [pickle("]", { limit: "N" }), "traceback_limit should be a whole number and is None"],
    [pickle("]", { limit: "J\xff\xff\xff\xff" }), "the traceback limit should be from 0 to 65535 and is -1"],
    [pickle("]]"), "there is a second sequence of traces"],
    [pickle("K\x01"), "_traces should be a sequence of traces and is a whole number"],
    [pickle(`]K\x01a`), "what is in a sequence of traces should be a trace and is a whole number"],
    [pickle(`](K\x00J\xff\xff\xff\xff)Nta`), "a size should be from 0 to 9007199254740991 and is -1"],
    [pickle(`](K\x00\x8a\x08\0\0\0\0\0\0\0\x7f)Nta`), "a size should be from 0 to 9007199254740991"],
    [pickle(`](K\x00\x8a\x0a0123456789)Nta`), "a whole number has 10 bytes"],
    [pickle(`](NK\x01)Nta`), "a tuple of 4 values of which the first is None is no part of a snapshot"],
    [pickle(`](K\x00K\x01K\x02Nta`), "the traceback of a trace should be a tuple of frames and is a whole number"],
    [pickle(`]${text("a.py")}N\x86a`), "a line should be a whole number and is None"],
    [pickle(`]h\x00a`), "an instruction needs value 0 of the memo, which has 0"],
    [pickle(`]j\xff\xff\xff\xffa`), "an instruction needs value 4294967295 of the memo"],
    [pickle(`]X\xff\xff\xff\x7f`), "a text has 2147483647 bytes"],
    [pickle(`]\x8d\xff\xff\xff\xff\xff\xff\xff\xff`), "a text has 18446744073709552000 bytes"],
    [pickle(`]\x8c\x02\xff\xfe`), "a text is not UTF-8"],
    [pickle(`]\x8c\x06\xed\xa0\xbd\xed\xb8\x80`), "a text is not UTF-8"],
    [pickle("]}}"), "there is a dictionary that no snapshot has"],
    [pickle(`]${text("x")}Ns`), "what is set in should be a dictionary"],
    [pickle(`\x88`), "the instruction NEWTRUE"],
    [bytesOf("\x80\x04t"), "an instruction needs a mark, and there is none"],
    [bytesOf("\x80\x04\x94"), "an instruction needs 1 values"],
    [bytesOf(`\x80\x04}${text("__class__")}Ns`), 'there is an attribute "__class__"'],
    [bytesOf(`\x80\x04}(${text("traces")}u`), "a name has no value"],
    [bytesOf("\x80\x04K\x01."), "the result should be an object and is a whole number"],
    [bytesOf(`\x80\x04${text("tracemalloc")}${text("_Traces")}\x93)\x81.`), "the end comes before a snapshot is whole"],
    [bytesOf(`\x80\x04${text("tracemalloc")}${text("Snapshot")}\x93)\x81}b`), "Snapshot.traces should be an object"],
    [
      bytesOf(`\x80\x04${text("tracemalloc")}${text("Snapshot")}\x93\x94)\x81h\x00)\x81`),
      "there is a second tracemalloc.Snapshot",
    ],
    [bytesOf(`\x80\x04${text("tracemalloc")}${text("Snapshot")}\x93${frame}\x85\x81`), "is made with arguments"],
    [
      bytesOf(
        `\x80\x04${text("tracemalloc")}${text("Snapshot")}\x93)\x81\x94}(${text("traces")}h\x00` +
          `${text("traceback_limit")}K\x01ub.`,
      ),
      "the traces of the snapshot are no tracemalloc._Traces that is whole",
    ],
  ];
  for (const [bytes, message] of hostile) {
    const error = refused(bytes);
    assertStringIncludes(error.message, message);
    assert(error.offset >= 0 && error.offset <= bytes.length && !error.message.includes("\n"), error.message);
  }
});

test("a pickle that is cut anywhere is refused", () => {
  const whole = readFileSync(`${folder}cpython-3.13.pickle`);
  for (let length = 0; length < whole.length; length++) {
    assertStringIncludes(refused(whole.subarray(0, length)).message, "the file ends too early");
  }
});

test("a traceback of more frames than there can be is refused", () => {
  assertStringIncludes(
    refused(pickle(`](K\x00K\x01(${frame}\x94${"h\x00".repeat(65_535)}tNta`)).message,
    "a traceback has 65536 frames",
  );
});
