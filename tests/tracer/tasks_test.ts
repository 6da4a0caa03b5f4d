/** Memory that the runtime allocates without JavaScript on the stack, and the lines that asked for the work. */
import { assert, assertEquals } from "@std/assert";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { test } from "node:test";
import { Snapshot, type Trace } from "@x/tracemalloc";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { deno, inFolder, root, run } from "./programs.ts";

/** Nothing is promised of versions other than the pinned one, but that no line is wrong. */
const pinned = !process.env["TRACED_DENO"];

const firstSize = 20_001, calls = Number(process.env["TASK_CALLS"] || 3_000);

/** Ways to ask for a block of just that size, which a thread of the runtime's, or its event loop, allocates. */
const asks = [
  "Deno.readFile(fileOf(size))",
  "new Promise((resolve) => randomBytes(size, (_, bytes) => resolve(bytes)))",
  "new Promise((resolve) => scrypt('a', 'b', size, { N: 2 }, (_, bytes) => resolve(bytes)))",
  "crypto.subtle.deriveBits({ name: 'PBKDF2', hash: 'SHA-1', salt, iterations: 1 }, key, 8 * size)",
];
const sites = Array.from({ length: 5 }, () => asks).flat();

/** Calls of all kinds, each of a size of its own, many of them under way at any time; prints the site of each size. */
const program = `import { randomBytes, scrypt } from "node:crypto";
const kept = globalThis.kept = [], salt = new Uint8Array(8);
const key = await crypto.subtle.importKey("raw", salt, "PBKDF2", false, ["deriveBits"]);
const fileOf = (size) => \`\${Deno.cwd()}/\${size}.bin\`;
const sites = [
${sites.map((ask) => `  (size) => ${ask},`).join("\n")}
];
let seed = 42;
const random = (below) => (seed = seed * 48271 % 0x7fffffff) % below;
const chosen = Array.from({ length: ${calls} }, () => random(sites.length));
const sizeOf = (call) => ${firstSize} + 2 * call;
for (let call = 0; call < ${calls}; call++) {
  if (chosen[call] % ${asks.length} !== 0) continue;
  const file = Deno.createSync(fileOf(sizeOf(call)));
  file.truncateSync(sizeOf(call));
  file.close();
}
let next = 0;
async function client() {
  while (next < ${calls}) {
    const call = next++;
    if (random(8) === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    kept.push(await sites[chosen[call]](sizeOf(call)));
  }
}
await Promise.all(Array.from({ length: 32 }, client));
console.log(JSON.stringify(chosen));
`;
const lines = program.split("\n");
const siteLine = lines.indexOf("const sites = [") + 2,
  callLine = 1 + lines.findIndex((line) => line.includes("await sites["));

/**
 * Checks every block of the program's sizes: it is at its line, called from where it was, or at none of the program's.
 * How many calls have blocks at their line.
 */
function checkCalls(traces: Iterable<Trace>, script: string, stdout: string): number {
  const chosen: number[] = JSON.parse(stdout), found = new Set<number>(), wrong: string[] = [];
  for (const { size, traceback } of traces) {
    const call = (size - firstSize) / 2;
    if (!Number.isInteger(call) || call < 0 || call >= calls) continue;
    const lines = [...traceback].reverse().filter(({ filename }) => filename === script).map(({ lineno }) => lineno)
      .filter((line, i, all) => line !== all[i - 1]);
    if (lines.length === 0) continue;
    if (lines[0] === siteLine + chosen[call]! && (lines[1] ?? callLine) === callLine) found.add(call);
    else wrong.push(`${size}: lines ${lines}, not ${siteLine + chosen[call]!}`);
  }
  assertEquals([wrong.length, wrong.slice(0, 3)], [0, []]);
  return found.size;
}

test(`${calls} calls whose work threads of the runtime do, under way side by side: each block has the line of its own`, () => {
  inFolder((folder) => {
    const script = join(folder, "calls.js"), path = join(folder, "snapshot");
    writeFileSync(script, program.replace("Deno.cwd()", JSON.stringify(folder)));
    const ended = run(["-n", "4", "-o", path, script]);
    assertEquals(ended.code, 0, ended.stderr);
    const found = checkCalls(Snapshot.load(path).traces, script, ended.stdout);
    if (pinned) assertEquals(found, calls, "blocks of some calls have no line");
  });
});

test("after start(1, { nativeFrames: true }), too: native code's frames stand before the line", () => {
  inFolder((folder) => {
    const script = join(folder, "calls.js"), path = join(folder, "snapshot"), starter = join(folder, "start.ts");
    writeFileSync(script, program.replace("Deno.cwd()", JSON.stringify(folder)));
    writeFileSync(
      starter,
      `import { start, takeSnapshot } from "@x/tracemalloc";
start(100, { nativeFrames: true });
await import(${JSON.stringify(`file://${script}`)});
takeSnapshot().dump(${JSON.stringify(path)});
`,
    );
    const ended = deno([`--config=${root}deno.json`, starter]);
    assertEquals(ended.code, 0, ended.stderr);
    const { traces } = Snapshot.load(path);
    const found = checkCalls(traces, script, ended.stdout);
    if (!pinned) return;
    assertEquals(found, calls, "blocks of some calls have no line");
    const read = [...traces].filter(({ traceback }) => {
      const frames = [...traceback].reverse().map(({ filename }) => filename);
      return frames.includes(script) && frames.indexOf(script) > 3 && !frames[0]!.startsWith("file:");
    });
    assert(read.length >= calls / 2, `only ${read.length} blocks have native frames before their line`);
  });
});

test("where the number of the task is looked for in a wrong place, there is no line, but never a wrong one", () => {
  const shim = ensureShim(undefined, ["-DTM_TEST_PERTURB"]);
  for (const by of [-16, -8, 8, 16]) {
    inFolder((folder) => {
      const script = join(folder, "calls.js"), path = join(folder, "snapshot"), starter = join(folder, "start.ts");
      writeFileSync(script, program.replace("Deno.cwd()", JSON.stringify(folder)).replaceAll(String(calls), "200"));
      writeFileSync(
        starter,
        `import { start, takeSnapshot } from "@x/tracemalloc";
import { detectBackend } from "${root}lib/runtime/detect.ts";
const backend = detectBackend();
backend.openEngine(backend.openShim(${JSON.stringify(shim)}));
start(4);
await import(${JSON.stringify(`file://${script}`)});
takeSnapshot().dump(${JSON.stringify(path)});
`,
      );
      const args = ["--v8-flags=--detailed-line-info", `--config=${root}deno.json`, starter];
      const ended = deno(args, { env: { TM_PERTURB: `tasks_number ${by}` } });
      assertEquals(ended.code, 0, ended.stderr);
      const found = checkCalls(Snapshot.load(path).traces, script, ended.stdout);
      // What JavaScript is below of has its line all the same.
      assert(found < 200, `${by} changes nothing`);
    });
  }
});

/** Two servers and a client for each: one gets much in the heads of its requests, the other nothing. */
const servers = `const big = "x".repeat(40_000), [bigger] = Deno.args;
const serve = (handler) => Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, handler);
const answer = async (request) => new Response(String((await request.text()).length));
const a = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, answer);
const b = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, answer);
const headersOf = (name) => name === bigger ? { big } : { small: "1" };
const askA = () => fetch(\`http://127.0.0.1:\${a.addr.port}/\`, { headers: headersOf("a") });
const askB = () => fetch(\`http://127.0.0.1:\${b.addr.port}/\`, { headers: headersOf("b") });
for (let round = 0; round < 100; round++) {
  const answers = await Promise.all([askA(), askB(), askB(), askA(), askA(), askB()]);
  for (const answer of answers) await answer.text();
}
Deno.exit();
`;
const lineOf = (start: string) => 1 + servers.split("\n").findIndex((line) => line.startsWith(start));

for (const bigger of ["a", "b"]) {
  test(`connections are their own server's and their own request's: much is asked of ${bigger}`, () => {
    inFolder((folder) => {
      const script = join(folder, "servers.js"), path = join(folder, "snapshot");
      writeFileSync(script, servers);
      const ended = run(["-o", path, script, bigger]);
      assertEquals(ended.code, 0, ended.stderr);
      const large = new Map<string, number>();
      for (const { size, traceback } of Snapshot.load(path).traces) {
        const line = String(traceback);
        if (size >= 40_000 && line.startsWith(script)) large.set(line, (large.get(line) ?? 0) + 1);
      }
      const [serve, ask] = [
        `${script}:${lineOf(`const ${bigger} =`)}`,
        `${script}:${lineOf(`const ask${bigger.toUpperCase()}`)}`,
      ];
      assertEquals([...large.keys()].filter((line) => line !== serve && line !== ask && line !== `${script}:1`), []);
      if (pinned) assert(large.get(serve)! >= 1 && large.get(ask)! >= 1, [...large].join(" "));
    });
  });
}
