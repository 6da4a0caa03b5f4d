/** Workers that do not call `start()` have their lines on Bun, and children their snapshots. */
import { spawnSync } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { Snapshot } from "../../mod.ts";
import { bunWithoutHooks, testedBuns } from "./buns.ts";
import { inFolder, root } from "./programs.ts";

function run(
  executable: string,
  args: readonly string[],
  env: Record<string, string> = {},
): { stdout: string; stderr: string } {
  const { status, signal, stdout, stderr } = spawnSync(executable, args, {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, NO_COLOR: "1", ...env },
  });
  assertEquals([status, signal], [0, null], stderr);
  return { stdout, stderr };
}

/** The lines that own blocks of a size. */
function ownersOf(size: number, path: string): string[] {
  return [...Snapshot.load(path).traces].filter((trace) => trace.size === size).map(({ traceback }) =>
    String(traceback.at(-1))
  );
}

const worker = `
const kept = [new Uint8Array(1_999_943)];
Object.assign(globalThis, { kept });
await new Promise((resolve) => setTimeout(resolve, 30));
kept.push(new Uint8Array(new ArrayBuffer(1_999_945)));
await new Promise((resolve) => setTimeout(resolve, 30));
postMessage("made");
setInterval(() => {}, 1000);
`;

/** Starts workers in both ways, waits for them, and says how many there were. */
const parent = `
import { Worker as NodeWorker } from "node:worker_threads";
const url = new URL("./worker.ts", import.meta.url);
const first = new Worker(url.href);
await new Promise((resolve) => first.onmessage = resolve);
const second = new NodeWorker(url);
await new Promise((resolve) => second.on("message", resolve));
`;

/** Many for a look by hand: `RESTLESS_WORKERS=1000`. */
const restlessWorkers = Number(process.env["RESTLESS_WORKERS"] ?? 28);

/** Makes code and buffers without rest until it ends as it is told. */
const restless = `
import { parentPort, workerData } from "node:worker_threads";
parentPort.postMessage("up");
const kept = [];
for (let turn = 0;; turn++) {
  for (let i = 0; i < 50; i++) {
    kept[i % 20] = new ArrayBuffer(9_001 + i);
    new Function("\\n".repeat(i % 9) + "return new ArrayBuffer(9_001)")();
  }
  await new Promise((resolve) => setTimeout(resolve, 0));
  if (turn < 4) continue;
  if (workerData === "exit") process.exit(0);
  if (workerData === "throw") throw new Error("the worker's own");
  if (workerData === "end") break;
}
`;

/** Four at a time. */
const restlessParent = `
const { Worker } = process.getBuiltinModule("node:worker_threads");
const kinds = ["terminate", "exit", "throw", "end", "at once"];
let next = 0, ended = 0;
const timer = setInterval(takeSnapshot, 50);
await Promise.all(Array.from({ length: 4 }, async () => {
  while (next < ${restlessWorkers}) {
    const number = next++, kind = kinds[number % kinds.length];
    const worker = new Worker(new URL("./worker.ts", import.meta.url), { workerData: kind });
    const end = new Promise((resolve) => worker.on("exit", resolve));
    worker.on("error", () => {});
    if (kind === "at once") await new Promise((resolve) => setTimeout(resolve, number % 40));
    if (kind === "terminate") await new Promise((resolve) => worker.on("message", resolve));
    if (kind === "at once" || kind === "terminate") await worker.terminate();
    await end;
    ended++;
  }
}));
clearInterval(timer);
console.log(ended);
process.exit(0);
`;

for (const { name, bun } of testedBuns()) {
  test(`${name}: lines of workers under \`run\` and after a plain start(), buffers of those that end are forgotten`, () => {
    inFolder((folder) => {
      const path = `${folder}/snapshot`;
      writeFileSync(`${folder}/worker.ts`, worker);
      writeFileSync(`${folder}/parent.ts`, `${parent}process.exit(0);\n`);
      run(bun, [`${root}cli.ts`, "run", "-o", path, `${folder}/parent.ts`]);
      const lines = (path: string) => [ownersOf(1_999_943, path), ownersOf(1_999_945, path)];
      const two = [2, 5].map((line) => Array(2).fill(`${folder}/worker.ts:${line}`));
      assertEquals(lines(path), two);

      const after = `${folder}/after`;
      writeFileSync(
        `${folder}/starts.ts`,
        `import { start, stop, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
const before = globalThis.Worker;
start();
await import("./parent.ts");
`,
      );
      writeFileSync(
        `${folder}/parent.ts`,
        `${parent}
import { stop, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
takeSnapshot().dump(${JSON.stringify(path)});
await Promise.all([first, second].map((worker) => worker.terminate()));
for (let i = 0; i < 20; i++) {
  Bun.gc(true);
  await new Promise((resolve) => setTimeout(resolve, 10));
}
takeSnapshot().dump(${JSON.stringify(after)});
stop();
console.log(String(Worker), Object.getOwnPropertyDescriptor(globalThis, "Worker")!.value.name);
process.exit(0);
`,
      );
      assertEquals(
        run(bun, [`${folder}/starts.ts`]).stdout.replace(/\s+/g, " "),
        "function Worker() { [native code] } Worker ",
      );
      assertEquals(lines(path), two);
      assertEquals(lines(after), [[], []]);
    });
  });

  test(`${name}: lines of workers of workers, under \`run\` and after a plain start()`, () => {
    inFolder((folder) => {
      const path = `${folder}/snapshot`;
      writeFileSync(`${folder}/worker.ts`, worker);
      writeFileSync(
        `${folder}/middle.ts`,
        `import { Worker as NodeWorker } from "node:worker_threads";
const kept = [new Uint8Array(1_999_951)];
Object.assign(globalThis, { kept });
const url = new URL("./worker.ts", import.meta.url);
const first = new Worker(url.href);
await new Promise((resolve) => first.onmessage = resolve);
const second = new NodeWorker(url);
await new Promise((resolve) => second.on("message", resolve));
postMessage("made");
setInterval(() => {}, 1000);
`,
      );
      const outer = parent.replace("worker.ts", "middle.ts");
      writeFileSync(`${folder}/parent.ts`, `${outer}process.exit(0);\n`);
      writeFileSync(`${folder}/traced.ts`, outer);
      writeFileSync(
        `${folder}/starts.ts`,
        `import { start, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
start();
await import("./traced.ts");
takeSnapshot().dump(${JSON.stringify(path)});
process.exit(0);
`,
      );
      const expected = [
        Array(2).fill(`${folder}/middle.ts:2`),
        ...[2, 5].map((line) => Array(4).fill(`${folder}/worker.ts:${line}`)),
      ];
      for (const args of [[`${root}cli.ts`, "run", "-o", path, `${folder}/parent.ts`], [`${folder}/starts.ts`]]) {
        run(bun, args);
        assertEquals([1_999_951, 1_999_943, 1_999_945].map((size) => ownersOf(size, path)), expected);
        rmSync(path);
      }
    });
  });

  test(`${name}: workers that come and go, end by themselves or are ended, while garbage is collected all the time`, () => {
    inFolder((folder) => {
      writeFileSync(`${folder}/worker.ts`, restless);
      writeFileSync(
        `${folder}/parent.ts`,
        `import { start, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
start(5);
${restlessParent}`,
      );
      assertEquals(
        run(bun, [`${folder}/parent.ts`], { BUN_JSC_slowPathAllocsBetweenGCs: "500" }).stdout,
        `${restlessWorkers}\n`,
      );
    });
  });

  test(`${name}: --follow-children: each has its own snapshot, with its lines, named by its number`, () => {
    inFolder((folder) => {
      const script = `${folder}/program.ts`, path = `${folder}/all.snapshot`;
      writeFileSync(
        script,
        `import { fork, spawnSync } from "node:child_process";
Object.assign(globalThis, { kept: new Uint8Array(process.argv[2] ? 1_999_947 : 1_999_949) });
if (process.argv[2]) {
  process.send?.("ended", undefined, undefined, () => process.disconnect?.());
} else {
  console.log(spawnSync(process.execPath, [import.meta.path, "child"]).status);
  console.log(Bun.spawnSync([process.execPath, "run", import.meta.path, "child"]).exitCode);
  const forked = fork(import.meta.path, ["child"]);
  console.log(await new Promise((resolve) => forked.on("exit", resolve)));
}
`,
      );
      const { stdout, stderr } = run(bun, [`${root}cli.ts`, "run", "--follow-children", "-o", path, script]);
      assertEquals(stdout, "0\n0\n0\n", stderr);
      assertEquals(ownersOf(1_999_949, path), [`${script}:2`]);
      const children = readdirSync(folder).filter((name) => /^all\.\d+\.snapshot$/.test(name)).map((name) =>
        `${folder}/${name}`
      );
      assertEquals(children.flatMap((path) => ownersOf(1_999_947, path)), Array(3).fill(`${script}:2`), stderr);
      for (const child of children) {
        assertMatch(stderr, new RegExp(`^The snapshot of a child is in ${child}\\.$`, "m"));
        assert(Snapshot.load(child).traces.length > 0, child);
      }
    });
  });
}

test("buffers of workers that end are forgotten where the engine's layout is refused, too", () => {
  inFolder((folder) => {
    writeFileSync(`${folder}/worker.ts`, worker);
    writeFileSync(`${folder}/parent.ts`, `${parent}export { first, second };\n`);
    writeFileSync(
      `${folder}/starts.ts`,
      `import { start, takeSnapshot } from ${JSON.stringify(`${root}mod.ts`)};
start();
const { first, second } = await import("./parent.ts");
const count = () => [...takeSnapshot().traces].filter(({ size }) => size === 1_999_943 || size === 1_999_945).length;
const before = count();
await Promise.all([first, second].map((worker) => worker.terminate()));
// It is said before the thread has ended what it holds.
for (let tries = 0; tries < 500 && count() > 0; tries++) await new Promise((resolve) => setTimeout(resolve, 20));
console.log(before, count());
process.exit(0);
`,
    );
    // Without its optimising compilers the engine does not show how their code is laid out.
    const { stdout, stderr } = run(bunWithoutHooks(), [`${folder}/starts.ts`], { BUN_JSC_useDFGJIT: "0" });
    assertMatch(stderr, /^tracemalloc: native frames only, for JavaScriptCore /);
    assertEquals(stdout, "4 0\n");
  });
});
