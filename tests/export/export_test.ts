import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { Profile } from "pprof-format";
import { collapsed } from "../../lib/export/collapsed.ts";
import { csv } from "../../lib/export/csv.ts";
import { wholeNumbers } from "../../lib/export/frames.ts";
import { heapprofile } from "../../lib/export/heapprofile.ts";
import { json } from "../../lib/export/json.ts";
import { pprof } from "../../lib/export/pprof.ts";
import { speedscope } from "../../lib/export/speedscope.ts";
import { domainName } from "../../lib/model/domain.ts";
import { Snapshot, snapshotFromColumns } from "../../lib/model/snapshot.ts";
import { unknownFrame } from "../../lib/model/traceback.ts";
import { columnsOf } from "../format/snapshots.ts";
import { weighted } from "../laws/arbitraries.ts";
import { bytesOf, sourceOf, textOf } from "./sources.ts";

const folder = mkdtempSync(join(tmpdir(), "tracemalloc-export-"));
after(() => rmSync(folder, { recursive: true }));

/** Bytes and blocks by traceback, as text, of what is not nothing. */
type Sums = Map<string, readonly number[]>;

function add(sums: Sums, key: string, ...values: number[]): void {
  const before = sums.get(key) ?? values.map(() => 0);
  sums.set(key, values.map((value, i) => value + before[i]!));
}

function sorted(sums: Sums): [string, readonly number[]][] {
  return [...sums].filter(([, values]) => values.some((value) => value !== 0)).sort(([a], [b]) => a < b ? -1 : 1);
}

/** The key of a traceback, the oldest frame first, whose labels are as exports show them. */
function keyOf(labels: readonly string[]): string {
  return labels.join(" → ");
}

function label(filename: string, lineno: number): string {
  return lineno === 0 ? filename : `${filename}:${lineno}`;
}

/** What `statistics` and `compareTo` say: bytes and blocks, newer and older. */
function expected(newer: Snapshot, older: Snapshot): Sums {
  const sums: Sums = new Map();
  for (const { traceback, size, sizeDiff, count, countDiff } of newer.compareTo(older, "traceback")) {
    const frames = traceback.length === 0 ? [unknownFrame] : [...traceback];
    const key = keyOf(frames.map(({ filename, lineno }) => label(filename, lineno)));
    add(sums, key, size, count, size - sizeDiff, count - countDiff);
  }
  return sums;
}

function only(sums: Sums, ...columns: number[]): [string, readonly number[]][] {
  return sorted(new Map([...sums].map(([key, values]) => [key, columns.map((column) => values[column]!)])));
}

const none = new Snapshot([], 1);

function anyExport(check: (snapshot: Snapshot, older: Snapshot) => Promise<void>): Promise<void> {
  return fc.assert(
    fc.asyncProperty(weighted, weighted, (newer, older) => check(newer.rows, older.rows)),
    { numRuns: 60 },
  );
}

/** A profile's samples by traceback. */
function pprofSums(bytes: Uint8Array<ArrayBuffer>): Sums {
  const { stringTable, sample, location, function: functions, sampleType } = Profile.decode(gunzipSync(bytes));
  const text = (index: number | bigint) => stringTable.strings[Number(index)]!;
  assertEquals(sampleType.map(({ type, unit }) => [text(type), text(unit)]), [
    ["inuse_objects", "count"],
    ["inuse_space", "bytes"],
  ]);
  const locations = new Map(location.map(({ id, line }) => [id, line[0]!]));
  const byId = new Map(functions.map((entry) => [entry.id, entry]));
  const sums: Sums = new Map();
  for (const { locationId, value, label: labels } of sample) {
    const frames = locationId.map((id) => {
      const { functionId, line } = locations.get(id)!;
      const { name, filename } = byId.get(functionId)!;
      assertEquals(text(name), label(text(filename), Number(line)));
      return text(name);
    });
    const base = labels.some(({ key, str }) => text(key) === "pprof::base" && text(str) === "true");
    const [blocks, size] = value.map((number) => Number(BigInt.asIntN(64, BigInt(number)))) as [number, number];
    assert(base ? blocks <= 0 && size <= 0 : blocks >= 0 && size >= 0);
    add(sums, keyOf(frames.reverse()), ...(base ? [0, 0, -size, -blocks] : [size, blocks, 0, 0]));
  }
  return sums;
}

test("pprof holds bytes and blocks of every traceback; of two snapshots, the older as its base", async () => {
  await anyExport(async (newer, older) => {
    const alone = pprofSums(await bytesOf(pprof, sourceOf(newer)));
    assertEquals(sorted(alone), sorted(expected(newer, none)));
    const both = pprofSums(await bytesOf(pprof, sourceOf(newer, older)));
    assertEquals(sorted(both), sorted(expected(newer, older)));
  });
});

test("speedscope holds bytes and blocks of every traceback", async () => {
  await anyExport(async (newer) => {
    const { shared, profiles } = JSON.parse(await textOf(speedscope, sourceOf(newer)));
    const sums: Sums = new Map();
    for (const [i, { samples, weights, endValue }] of profiles.entries()) {
      assertEquals(endValue, weights.reduce((a: number, b: number) => a + b, 0));
      for (const [row, frames] of samples.entries()) {
        const key = keyOf(frames.map((frame: number) => shared.frames[frame].name));
        add(sums, key, ...(i === 0 ? [weights[row], 0] : [0, weights[row]]));
      }
    }
    assertEquals(sorted(sums), only(expected(newer, none), 0, 1));
  });
});

test("collapsed holds the bytes of every traceback; of two snapshots, the older first", async () => {
  const read = (text: string) => {
    const sums: Sums = new Map();
    for (const line of text.split("\n").slice(0, -1)) {
      const [, stack, numbers] = /^(.*?)((?: \d+)+)$/.exec(line)!;
      add(sums, stack!.replaceAll(";", " → "), ...numbers!.trim().split(" ").map(Number));
    }
    return sums;
  };
  await anyExport(async (newer, older) => {
    assertEquals(sorted(read(await textOf(collapsed, sourceOf(newer)))), only(expected(newer, none), 0));
    assertEquals(sorted(read(await textOf(collapsed, sourceOf(newer, older)))), only(expected(newer, older), 2, 0));
  });
});

interface HeapNode {
  readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  readonly selfSize: number;
  readonly id: number;
  readonly children: readonly HeapNode[];
}

test("heapprofile holds the bytes of every traceback, as the protocol of DevTools describes it", async () => {
  await anyExport(async (newer) => {
    const profile = JSON.parse(await textOf(heapprofile, sourceOf(newer)));
    checkProtocol("HeapProfiler.SamplingHeapProfile", profile);
    const sums: Sums = new Map(), sizes = new Map<number, number>();
    const visit = ({ callFrame, selfSize, id, children }: HeapNode, above: readonly string[]) => {
      assert(!sizes.has(id));
      sizes.set(id, selfSize);
      const path = id === 1 ? [] : [...above, label(callFrame.url, callFrame.lineNumber + 1)];
      add(sums, keyOf(path), selfSize);
      for (const child of children) visit(child, path);
    };
    visit(profile.head, []);
    assertEquals(sorted(sums), only(expected(newer, none), 0));
    const samples = new Map<number, number>(
      profile.samples.map(({ nodeId, size }: { nodeId: number; size: number }) => [nodeId, size]),
    );
    for (const [id, size] of sizes) assertEquals(samples.get(id) ?? 0, size);
  });
});

interface ProtocolType {
  readonly id?: string;
  readonly name?: string;
  readonly type?: string;
  readonly $ref?: string;
  readonly optional?: boolean;
  readonly items?: ProtocolType;
  readonly properties?: readonly ProtocolType[];
}

const protocol: { readonly domain: string; readonly types?: readonly ProtocolType[] }[] = JSON.parse(
  readFileSync(createRequire(import.meta.url).resolve("devtools-protocol/json/js_protocol.json"), "utf8"),
).domains;

/** Throws unless a value is of a type of Chrome's protocol, with nothing missing and nothing that is not described. */
function checkProtocol(name: string, value: unknown): void {
  const [domain, id] = name.split(".");
  const type = protocol.find((entry) => entry.domain === domain)!.types!.find((entry) => entry.id === id)!;
  const check = (type: ProtocolType, value: unknown): void => {
    if (type.$ref !== undefined) {
      checkProtocol(type.$ref.includes(".") ? type.$ref : `${domain}.${type.$ref}`, value);
    } else if (type.type === "array") {
      assert(Array.isArray(value));
      for (const item of value) check(type.items!, item);
    } else if (type.type === "object") {
      const object = value as Record<string, unknown>;
      const known = new Map(type.properties!.map((property) => [property.name!, property]));
      for (const key of Object.keys(object)) assert(known.has(key), `${name} has no ${key}`);
      for (const [key, property] of known) {
        if (key in object) check(property, object[key]);
        else assert(property.optional, `${name} needs ${key}`);
      }
    } else if (type.type === "integer") assert(Number.isInteger(value));
    else assertEquals(typeof value, type.type);
  };
  check(type, value);
}

test("json holds every traceback and domain, and the sums", async () => {
  await anyExport(async (newer, older) => {
    const report = JSON.parse(await textOf(json, sourceOf(newer, older)));
    const sums: Sums = new Map(), total: Sums = new Map();
    for (const { traceback, size, sizeDiff, count, countDiff } of report.tracebacks) {
      const key = keyOf(traceback.map((frame: typeof unknownFrame) => label(frame.filename, frame.lineno)));
      add(sums, key, size, count, size - sizeDiff, count - countDiff);
      add(total, "", size, sizeDiff, count, countDiff);
    }
    assertEquals(sorted(sums), sorted(expected(newer, older)));
    const { size, sizeDiff, count, countDiff } = report.total;
    assertEquals(total.get("") ?? [0, 0, 0, 0], [size, sizeDiff, count, countDiff]);
    const alone = JSON.parse(await textOf(json, sourceOf(newer)));
    const statistics = newer.statistics("filename");
    assertEquals(alone.total, {
      size: statistics.reduce((sum, { size }) => sum + size, 0),
      count: statistics.reduce((sum, { count }) => sum + count, 0),
    });
  });
});

/** The cells of RFC 4180. */
function readCsv(text: string): string[][] {
  const rows: string[][] = [];
  let row: string[] = [];
  for (const [, quoted, plain, end] of text.matchAll(/(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/g)) {
    row.push(quoted?.replaceAll('""', '"') ?? plain!);
    if (end === ",") continue;
    rows.push(row);
    row = [];
  }
  return rows;
}

test("csv holds every traceback and domain", async () => {
  await anyExport(async (newer, older) => {
    const [head, ...rows] = readCsv(await textOf(csv, sourceOf(newer, older)));
    assertEquals(head!.join(), "domain,size,size_diff,count,count_diff,filename,lineno,traceback");
    const sums: Sums = new Map();
    for (const [, size, sizeDiff, count, countDiff, filename, lineno, traceback] of rows) {
      const frames = traceback!.split("\n");
      assertEquals(frames.at(-1), label(filename!, Number(lineno)));
      add(
        sums,
        keyOf(frames),
        ...[size, count, Number(size) - Number(sizeDiff), Number(count) - Number(countDiff)].map(Number),
      );
    }
    assertEquals(sorted(sums), sorted(expected(newer, older)));
  });
  assertEquals(await textOf(csv, sourceOf(none)), "domain,size,count,filename,lineno,traceback\r\n");
});

const hostile = `a";b\n,c\r<script>alert(1)</script>\u2028\ud800`;
const trace = { domain: 1, size: 64, count: 2, total: null };

test("names of files cannot break a format", async () => {
  const source = sourceOf(snapshotFromColumns(columnsOf([{ ...trace, frames: [[hostile, 0], ["z.ts", 3]] }], 25)));
  assertEquals(await textOf(collapsed, source), `a"%3Bb%0A,c%0D<script>alert(1)</script>\u2028\ufffd;z.ts:3 128\n`);
  const [, row] = readCsv(await textOf(csv, source));
  assertEquals(row, [domainName(1), "128", "2", "z.ts", "3", `${hostile.replace("\ud800", "\ufffd")}\nz.ts:3`]);
  assertEquals(JSON.parse(await textOf(json, source)).tracebacks[0].traceback[0].filename, hostile);
  assertEquals(JSON.parse(await textOf(speedscope, source)).shared.frames[0].file, hostile);
  assertEquals(JSON.parse(await textOf(heapprofile, source)).head.children[0].callFrame.url, hostile);
  assertEquals([...pprofSums(await bytesOf(pprof, source)).keys()], [
    `${hostile.replace("\ud800", "\ufffd")} → z.ts:3`,
  ]);
});

test("tracebacks as deep as they can be", async () => {
  const frames = Array.from({ length: 65_535 }, (_, i) => ["deep.ts", i + 1] as const);
  const source = sourceOf(snapshotFromColumns(columnsOf([{ ...trace, frames }], 65_535)));
  const text = await textOf(heapprofile, source);
  assertEquals(text.match(/"children":\[/g)!.length, 65_536);
  for (const target of [pprof, speedscope, collapsed, csv, json]) assert((await bytesOf(target, source)).length > 0);
});

test("weights that are not whole are rounded so that their sum is right", async () => {
  assertEquals([...wholeNumbers(Float64Array.of(0.4, 0.4, 0.4, 5, 1.3, 1.3))], [0, 1, 0, 5, 2, 1]);
  assertEquals([...wholeNumbers(Float64Array.of(1e300, 0.5, 2 ** 60, 7))], [1e300, 1, 2 ** 60, 7]);
  const rows = Array.from({ length: 100 }, (_, i) => ({ ...trace, size: 3, count: 1 / 3, frames: [["a.ts", i + 1]] }));
  const source = sourceOf(snapshotFromColumns(columnsOf(rows as never, 1)));
  let size = 0, count = 0;
  for (const [bytes, blocks] of pprofSums(await bytesOf(pprof, source)).values()) size += bytes!, count += blocks!;
  assertEquals([size, count], [100, 33]);
  const lines = (await textOf(collapsed, source)).trimEnd().split("\n");
  assertEquals(lines.reduce((sum, line) => sum + Number(line.split(" ")[1]), 0), 100);
});

const go = spawnSync("go", ["version"], { encoding: "utf8" });

test("go tool pprof shows what statistics show", { skip: go.status !== 0 && "there is no Go" }, async () => {
  const older = snapshotFromColumns(columnsOf([
    { ...trace, size: 1_999_993, count: 1, frames: [["main.ts", 3], ["cache.ts", 2]] },
    { ...trace, size: 100, count: 7, frames: [["main.ts", 3], ["libz.so.1!deflateInit2_", 0]] },
  ], 25));
  const newer = snapshotFromColumns(
    columnsOf([
      { ...trace, size: 1_999_993, count: 3, frames: [["main.ts", 3], ["cache.ts", 2]] },
      { ...trace, size: 64, count: 2, domain: 0, frames: [["<native worker (1)>", 0]] },
    ], 25),
    { runtime: "deno", createdAt: 1700000000000 },
  );
  const show = async (file: string, source: ReturnType<typeof sourceOf>, ...args: string[]) => {
    const path = join(folder, file);
    writeFileSync(path, await bytesOf(pprof, source));
    const { status, stdout, stderr } = spawnSync("go", ["tool", "pprof", ...args, path], {
      encoding: "utf8",
      env: { ...process.env, PPROF_TMPDIR: folder, HOME: folder },
    });
    assertEquals(status, 0, stderr);
    return stdout.replace(/ +/g, " ");
  };
  const all = ["-unit=b", "-nodefraction=0", "-top"];
  const top = await show("new.pb.gz", sourceOf(newer), ...all);
  assertMatch(top, /^File: deno\nType: inuse_space\nTime: Nov 14, 2023/);
  assertMatch(top, /accounting for 6000107B, 100% of 6000107B total\n/);
  assertMatch(top, /\n 5999979B 100% 100% 5999979B 100% cache\.ts:2\n/);
  assertMatch(top, /\n 0 0% 100% 5999979B 100% main\.ts:3\n/);
  assertMatch(top, /\n 128B 0\.0021% 100% 128B 0\.0021% <native worker \(1\)>\n/);
  assertMatch(
    await show("new.pb.gz", sourceOf(newer), ...all, "-sample_index=inuse_objects"),
    /for 5b, 100% of 5b total/,
  );
  assertMatch(await show("new.pb.gz", sourceOf(newer), "-tags", "-unit=b"), / 128\.0B \(0\.0021%\): native\n/);
  const difference = await show("diff.pb.gz", sourceOf(newer, older), ...all);
  // Percentages are those of the older snapshot, 2000693 bytes.
  assertMatch(difference, /\n 3999986B 199\.93% 199\.93% 3999986B 199\.93% cache\.ts:2\n/);
  assertMatch(difference, /\n -700B 0\.035% .* libz\.so\.1!deflateInit2_\n/);
  // What is not in the newer has its library, too.
  assertMatch(await show("diff.pb.gz", sourceOf(newer, older), "-raw"), /\n2: 0x0\/0x0\/0x0 libz\.so\.1 /);
});
