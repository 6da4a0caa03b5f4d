import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { checkLayers } from "../../tools/layers.ts";

/** What is reported, as `file:line: the text up to the first semicolon or comma`. */
function problems(files: Record<string, string>): string[] {
  return checkLayers(new Map(Object.entries(files)))
    .map(({ file, line, text }) => `${file}:${line}: ${/^[^;,]*/.exec(text)![0]}`);
}

test("a folder may import itself and what is listed for it", () => {
  assertEquals(
    problems({
      "lib/model/trace.ts": 'import { Frame } from "./frame.ts";',
      "lib/model/frame.ts": "export class Frame {}",
      "lib/format/reader.ts": 'import { Frame } from "../model/frame.ts";\nimport { Builder } from "flatbuffers";',
    }),
    [],
  );
});

test("what is not listed is reported with its line", () => {
  assertEquals(
    problems({ "lib/model/trace.ts": '// first\nimport {\n  read,\n} from "../format/reader.ts";\n' }),
    ["lib/model/trace.ts:4: imports lib/format/reader.ts"],
  );
  assertEquals(problems({ "lib/model/a.ts": 'import "node:fs";' }), ["lib/model/a.ts:1: imports node:fs"]);
  assertEquals(problems({ "lib/model/a.ts": 'export * from "fast-check";' }), ["lib/model/a.ts:1: imports fast-check"]);
  assertEquals(problems({ "lib/model/a.ts": 'let x: import("node:fs").Stats;' }), [
    "lib/model/a.ts:1: imports node:fs",
  ]);
  assertEquals(problems({ "lib/aggregate/a.ts": 'await import("node:fs");' }), [
    "lib/aggregate/a.ts:1: imports node:fs",
  ]);
  assertEquals(problems({ "lib/model/a.ts": "await import(name);" }), ["lib/model/a.ts:1: imports a computed name"]);
});

test("a folder whose name begins alike is another one", () => {
  assertEquals(problems({ "lib/model/a.ts": 'import "../models/b.ts";' }), [
    "lib/model/a.ts:1: imports lib/models/b.ts",
  ]);
});

test("generated code is for lib/format alone", () => {
  const importing = 'import * as fb from "../format/generated/snapshot.ts";';
  assertEquals(problems({ "lib/format/reader.ts": 'import "./generated/snapshot.ts";' }), []);
  assertEquals(problems({ "lib/cli/top.ts": importing }), ["lib/cli/top.ts:1: imports generated code"]);
  assertEquals(problems({ "tests/cli/top_test.ts": 'import "../../lib/format/generated/a.ts";' }), [
    "tests/cli/top_test.ts:1: imports generated code",
  ]);
});

test("only lib/runtime says what one runtime alone has", () => {
  const source = 'Deno.cwd();\nglobalThis.Bun.version;\nprocess.dlopen(module, "x.node");\nif (typeof Deno === "x") {}';
  assertEquals(problems({ "lib/runtime/deno.ts": source + '\nimport { dlopen } from "bun:ffi";' }), []);
  assertEquals(problems({ "lib/tracer/start.ts": source + '\nimport { dlopen } from "bun:ffi";' }), [
    "lib/tracer/start.ts:1: says Deno",
    "lib/tracer/start.ts:2: says globalThis.Bun",
    "lib/tracer/start.ts:3: says process.dlopen",
    "lib/tracer/start.ts:4: says Deno",
    "lib/tracer/start.ts:5: imports bun:ffi",
  ]);
});

test("comments, strings and regular expressions say nothing", () => {
  assertEquals(
    problems({
      "lib/model/a.ts": [
        "// Deno.cwd() import('node:fs')",
        "/* Bun.version",
        " */",
        "const a = Symbol.for(\"Deno.customInspect\"), b = 'Deno.x', c = `Deno.${`process`}.x`;",
        "const d = /Deno.[/]/.test(a) ? 1 / 2 : /\\/Bun/;",
        "const process2 = { process: 1 }, e = a.process;",
      ].join("\n"),
    }),
    [],
  );
});

test("code inside a template is code", () => {
  assertEquals(problems({ "lib/model/a.ts": "`a ${ { a: `${Deno.pid}` }.a } Deno.pid ${process.pid}`;\nDeno.pid" }), [
    "lib/model/a.ts:1: says Deno",
    "lib/model/a.ts:2: says Deno",
    "lib/model/a.ts:1: says process",
  ]);
});

test("a pure folder says nothing that a browser has not", () => {
  assertEquals(problems({ "lib/aggregate/a.ts": "Buffer.from([])" }), ["lib/aggregate/a.ts:1: says Buffer"]);
  assertEquals(problems({ "lib/cli/a.ts": "Buffer.from([])" }), []);
});

test("a circle of imports is reported once, types aside", () => {
  assertEquals(
    problems({
      "lib/model/a.ts": 'import { b } from "./b.ts";',
      "lib/model/b.ts": '\nexport { c } from "./c.ts";',
      "lib/model/c.ts": 'import "./a.ts";',
    }),
    ["lib/model/c.ts:1: closes a circle of imports"],
  );
  assertEquals(
    problems({ "lib/model/a.ts": 'import { b } from "./b.ts";', "lib/model/b.ts": 'import type { a } from "./a.ts";' }),
    [],
  );
});

test("every file of lib has a folder with rules", () => {
  assertEquals(problems({ "lib/other/a.ts": "", "lib/b.ts": "", "extra.ts": "" }), [
    "lib/other/a.ts:1: is in a folder without rules",
    "lib/b.ts:1: is in a folder without rules",
    "extra.ts:1: is in a folder without rules",
  ]);
});
