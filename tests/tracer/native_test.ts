/** Native code's frames in tracebacks, between those of JavaScript. */
import { assert, assertEquals } from "@std/assert";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Snapshot } from "@x/tracemalloc";
import { deno, inFolder, root, run } from "./programs.ts";

/** For the demangler of C++; a program in C++ has it loaded. */
const cxx = "/usr/lib/x86_64-linux-gnu/libstdc++.so.6";

const program = `${existsSync(cxx) ? `Deno.dlopen("${cxx}", {});` : ""}
const native = Deno.dlopen("${root}.build/tests/native/libmixed.so", {
  keep_mixed: { parameters: ["u32"], result: "void" },
  call_mixed: { parameters: ["function"], result: "void" },
}).symbols;
const callback = new Deno.UnsafeCallback({ parameters: [], result: "void" }, () => {
  native.keep_mixed(1_999_701);
});
function calls() {
  native.call_mixed(callback.pointer);
}
calls();
new Array(1).fill(0).forEach(() => native.keep_mixed(1_999_703));
callback.close();
`;

/** The library's frames and the program's, the most recent first, of the block of a size. */
function tracebackOf(snapshot: Snapshot, size: number, script: string): string[] {
  const traces = [...snapshot.traces].filter((trace) => trace.size === size);
  assertEquals(traces.length, 1);
  return [...traces[0]!.traceback].reverse().map(String)
    .filter((frame) => frame.startsWith("libmixed") || frame.startsWith(script));
}

const shelf = existsSync(cxx) ? "mixed::shelf(unsigned int)" : "_ZN5mixed5shelfEj";
/** As `c++filt -s rust` shows them, without the numbers of crates and the types of constants. */
const rust = [
  "a::id::<alloc::boxed::Box<dyn for<'a> core::ops::function::Fn<(&'a str,), Output = " +
  "alloc::boxed::Box<dyn core::fmt::Display + core::marker::Send + 'a>> + core::marker::Send>>",
  "<a::Shelf<7, alloc::string::String>>::dünn",
];
const own = ["<mixed::Shelf as core::Keep>::keep", ...rust, shelf, "plain", "keep_mixed"].map((name) =>
  `libmixed.so!${name}:0`
);

function check(snapshot: Snapshot, script: string): void {
  assertEquals(tracebackOf(snapshot, 1_999_701, script), [
    ...own,
    `${script}:7`,
    // Not call_mixed: libffi's closure, which it calls, keeps no frame pointer, and hides its caller.
    `${script}:10`,
    `${script}:12`,
  ]);
  assertEquals(tracebackOf(snapshot, 1_999_703, script), [...own, `${script}:13`, `${script}:13`]);
  const names = [...snapshot.traces].flatMap(({ traceback }) =>
    traceback.length > 0 ? [traceback.at(0)!.filename] : []
  );
  assert(names.some((name) => name.startsWith("<native ")), "no thread's name is below its frames");
}

test("run --native: native code stands between the lines of JavaScript, by library and symbol", () => {
  inFolder((folder) => {
    const script = join(folder, "mixed.js"), path = join(folder, "snapshot");
    writeFileSync(script, program);
    const ended = run(["--native", "-n", "200", "-o", path, script]);
    assertEquals(ended.code, 0, ended.stderr);
    check(Snapshot.load(path), script);
  });
});

test("start(200, { nativeFrames: true }) does the same; without it there are lines of JavaScript alone", () => {
  inFolder((folder) => {
    const script = join(folder, "mixed.js"), path = join(folder, "snapshot"), plain = join(folder, "plain");
    writeFileSync(script, program);
    const starter = join(folder, "start.ts");
    const settings = JSON.stringify([[true, path], [false, plain]]);
    writeFileSync(
      starter,
      `import { start, stop, takeSnapshot } from "@x/tracemalloc";
for (const [nativeFrames, path] of ${settings} as [boolean, string][]) {
  start(200, { nativeFrames });
  await import(${JSON.stringify(`file://${script}`)} + "?" + nativeFrames);
  takeSnapshot().dump(path);
  stop();
}
`,
    );
    const ended = deno([`--config=${root}deno.json`, starter]);
    assertEquals(ended.code, 0, ended.stderr);
    check(Snapshot.load(path), script);
    assertEquals(tracebackOf(Snapshot.load(plain), 1_999_703, script), [`${script}:13`, `${script}:13`]);
  });
});
