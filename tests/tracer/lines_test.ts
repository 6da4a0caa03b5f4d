import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Snapshot, type Trace } from "@x/tracemalloc";
import { deno } from "./deno.ts";

// Where a line could be wrong: there must be the right one or none.

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-lines-"));
after(() => rmSync(folder, { recursive: true }));

function tracesOf(program: string, env: NodeJS.ProcessEnv = {}, flags: readonly string[] = []): Trace[] {
  const args = ["run", "-A", `${root}cli.ts`, "run", "-o", "snapshot", ...flags, program];
  const { status, stderr } = spawnSync(deno, args, {
    cwd: folder,
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  assertEquals(status, 0, stderr);
  return [...Snapshot.load(join(folder, "snapshot")).traces];
}

function write(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const worker = `const kept = (globalThis as any).kept = [] as unknown[];
function hot(i: number) { let sum = 0; for (let j = 0; j < 100000; j++) sum += new Uint8Array(j & 63).length; return sum + i; }
self.onmessage = (event: any) => {
  const sum = hot(event.data);
  kept.push(new Uint8Array(SIZE));
  self.postMessage(sum);
};
`;

test("a worker's lines are the author's; without what was compiled, those of JavaScript are known, and all files", () => {
  const typescript = write(
    "worker.ts",
    `interface Moves {\n  the: "lines";\n}\n${worker.replace("SIZE", "1_999_807")}`,
  );
  const javascript = write(
    "worker.js",
    worker.replaceAll(/ as \w+(\[\])?|: (number|any)/g, "").replace("SIZE", "1_999_809"),
  );
  const main = write(
    "main.ts",
    `const workers = ["worker.ts", "worker.js"].flatMap((name) => [name, name, name]).map((name, i) => {
  const worker = new Worker(new URL(name, import.meta.url), { type: "module" });
  worker.postMessage(i);
  return new Promise((resolve) => worker.onmessage = resolve);
});
await Promise.all(workers);
const cache = Deno.env.get("DENO_DIR");
if (cache !== undefined) {
  const compiled = cache + "/gen/file" + new URL("worker.ts", import.meta.url).pathname + ".js";
  Deno.writeTextFileSync(compiled, "\\n" + Deno.readTextFileSync(compiled));
}
Deno.exit();
`,
  );
  const check = (line: number, traces: readonly Trace[]) => {
    const places = (size: number) =>
      traces.filter((trace) => trace.size === size).map(({ traceback }) => String(traceback));
    assertEquals(places(1_999_807), Array(3).fill(`${typescript}:${line}`));
    assertEquals(places(1_999_809), Array(3).fill(`${javascript}:5`));
  };
  check(8, tracesOf(main));
  check(0, tracesOf(main, {}, ["--runtime-flags", `--allow-env --allow-read=${folder},${root}`]));
  // Here main.ts changes what was compiled.
  check(0, tracesOf(main, { DENO_DIR: join(folder, "cache") }));
});

test("what a write barrier allocates is not charged to the call before it", () => {
  const made = join(folder, "made.js");
  const program = write(
    "barriers.ts",
    `const setters = Array.from({ length: 3000 }, (_, i) =>
  new Function("f", \`let kept = \${i};
return () => {
  f();
  kept = {};
};
//# sourceURL=file://${made}\`)(() => new Array(300)));
for (let i = 0; i < 4; i++) (globalThis as any).gc();
for (const set of setters) set();
`,
  );
  const rememberedSets = tracesOf(program, { DENO_V8_FLAGS: "--expose-gc" }).filter(({ size, traceback }) =>
    (size === 128 || size === 264) && traceback.at(-1)?.filename === made
  );
  assert(rememberedSets.length > 10, `only ${rememberedSets.length} blocks of the kind that this is about`);
  // The call stands on line 5, the store behind it on line 6: a function's text begins with two lines of V8's own.
  assertEquals(rememberedSets.filter(({ traceback }) => traceback.at(-1)?.lineno === 5).map(String), []);
});
