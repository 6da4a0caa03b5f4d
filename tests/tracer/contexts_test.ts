import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Snapshot } from "@x/tracemalloc";
import { deno } from "./deno.ts";

// Code that is no file, or not the file that somebody wrote: eval, vm, WebAssembly, URLs, bundles with source maps.

const root = fileURLToPath(new URL("../../", import.meta.url));
const program = fileURLToPath(new URL("contexts.mjs", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-contexts-"));
after(() => rmSync(folder, { recursive: true }));

/** Runs a program traced; what it printed, and its tracebacks by size: `traceback → how many`, the most recent first. */
function trace(script: string, nframe: number) {
  const output = join(folder, "snapshot");
  const { status, stdout, stderr } = spawnSync(
    deno,
    ["run", "-A", `${root}cli.ts`, "run", "-n", String(nframe), "-o", output, script],
    { encoding: "utf8", cwd: folder, maxBuffer: 1 << 26 },
  );
  assertEquals(status, 0, stderr);
  const found: Record<number, Record<string, number>> = {};
  for (const { size, traceback } of Snapshot.load(output).traces) {
    const frames = [...traceback].reverse().map(String).filter((frame) => !frame.startsWith("<native "));
    const tracebacks = found[size] ??= {};
    tracebacks[frames.join(" ")] = (tracebacks[frames.join(" ")] ?? 0) + 1;
  }
  return { stdout, found };
}

/** The line of a program with a remark. */
function lineOf(remark: string): string {
  const line = readFileSync(program, "utf8").split("\n").findIndex((line) => line.endsWith(`// ${remark}`));
  assert(line >= 0, remark);
  return `${program}:${line + 1}`;
}

test("code from text is named by the call that made it; vm, WebAssembly, data: and blob: URLs, workers that end", () => {
  const { stdout, found } = trace(program, 4);
  const { blob, data, worker, passing } = JSON.parse(stdout);
  const directCall = lineOf("60001"), nestedCall = `<eval at ${lineOf("nested")}>:1`;
  const expected: Record<number, [string, count?: number]> = {
    60001: [`<eval at ${directCall}>:2 ${directCall} ${program}:10`],
    60003: [`<eval at ${lineOf("60003")}>:3 ${lineOf("60003")}`],
    60005: [`<eval at ${nestedCall}>:1 ${nestedCall} ${lineOf("60005")}`],
    60007: [`/made/up.js:1 ${lineOf("60007")}`],
    60009: [`this.js:103 ${lineOf("60009")}`],
    60011: [`new.js:3 ${lineOf("60011")}`],
    60013: [`made.js:2 called.js:1 ${lineOf("60013")}`],
    60015: [`${blob}:2 ${blob}:4`],
    60017: [`${blob}:2 ${lineOf("60017")}`],
    60019: [`${data}:2 ${data}:4`],
    60021: [`${data}:2 ${lineOf("60021")}`],
    60123: [`${lineOf("inner")} ${lineOf("import")} ${lineOf("import")} ${lineOf("wasm")}`, 3],
    60025: [lineOf("60025")],
    60027: [lineOf("60027")],
    60031: [`${worker}:3`, 100],
    60033: [`${passing}:2`, 60],
  };
  for (const [size, [traceback, count = 1]] of Object.entries(expected)) {
    assertEquals(found[Number(size)], { [traceback]: count }, `${size} bytes`);
  }
  assertEquals(found[60_029], undefined);
  const bodies = lineOf("bodies");
  const places = new Set<string>();
  for (let i = 0; i < 7; i++) Object.keys(found[60_201 + i]!).forEach((place) => places.add(place));
  assertEquals([...places], [`<eval at ${bodies}>:3 ${program}:${Number(bodies.split(":").at(-1)) + 1}`]);
});

/** Numbers as source maps hold them. */
function encode(value: number): string {
  const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  let rest = value < 0 ? (-value << 1) | 1 : value << 1, text = "";
  do {
    text += digits[(rest & 31) | (rest > 31 ? 32 : 0)];
    rest >>>= 5;
  } while (rest > 0);
  return text;
}

/** Functions of three lines each, on one line, with the map back. */
function bundle(functions: readonly (readonly string[])[]) {
  let text = "", mappings = "", line = 0, before = { column: 0, line: 0 };
  for (const lines of functions) {
    for (const piece of lines) {
      mappings += `${mappings && ","}${encode(text.length - before.column)}A${encode(line - before.line)}A`;
      before = { column: text.length, line };
      text += piece;
      line++;
    }
  }
  return { text, map: JSON.stringify({ version: 3, sources: ["author.ts"], names: [], mappings }) };
}

test("a bundle of 500 kB on one line: the author's lines, with a map inline, beside it, and with none", () => {
  const filler = Array.from(
    { length: 9300 },
    (_, i) => [`function f${i}(a){`, `return a.value${i}+a.other${i}*${i};`, `}`],
  );
  const { text, map } = bundle([
    ["const kept=globalThis.kept=[];"],
    ...filler,
    ["function allocate(size){", "kept.push(new Uint8Array(size));", "}"],
    ["function outer(size){", "allocate(size);", "}"],
    ["outer(61_001);", "allocate(61_003);"],
    ["for(let i=0;i<30_000;i++)outer(i<29_900?1:61_005);"],
  ]);
  assert(text.length > 500_000 && !text.includes("\n"), `${text.length}`);
  const allocating = 1 + filler.length * 3 + 2, calling = allocating + 3, calls = calling + 2;
  const inline = `data:application/json;base64,${btoa(map)}`;
  writeFileSync(join(folder, "beside.mjs.map"), map);
  for (const [name, comment] of [["inline", inline], ["beside", "beside.mjs.map"], ["none", undefined]] as const) {
    const script = join(folder, `${name}.mjs`);
    writeFileSync(script, comment === undefined ? text : `${text}\n//# sourceMappingURL=${comment}\n`);
    const { found } = trace(script, 3);
    const at = (line: number) => comment === undefined ? `${script}:1` : `${join(folder, "author.ts")}:${line}`;
    assertEquals(found[61_001], { [[at(allocating), at(calling), at(calls)].join(" ")]: 1 }, name);
    assertEquals(found[61_003], { [[at(allocating), at(calls + 1)].join(" ")]: 1 }, name);
    assertEquals(found[61_005], { [[at(allocating), at(calling), at(calls + 2)].join(" ")]: 100 }, name);
  }
});
