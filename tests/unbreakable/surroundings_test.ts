/** Names, disks, workers and handlers that nobody thought of. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { makeFolder, once, ownersOf, root, run, runtime, runtimeFlags } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const text = "interface Unused {\n  line: 2;\n}\nObject.assign(globalThis, { kept: new Uint8Array(1_999_929) });\n";

for (const name of ["a\nline", "pc%41", "ha#sh", "uni é 日", "a \"q' b"]) {
  // Bun itself does not find them all.
  test(`a script whose name is ${JSON.stringify(name)}`, once, () => {
    const program = folder.path(`${name}.ts`), output = folder.path("named.snapshot");
    writeFileSync(program, text);
    const { status, stderr } = run(["-o", output, program]);
    assertEquals(status, 0, stderr);
    assertEquals(ownersOf(1_999_929, output), [`${program}:4`]);
  });
}

test("a script with the longest name that there can be has its snapshot", () => {
  const cwd = folder.path("long"), program = `${"x".repeat(252)}.ts`;
  mkdirSync(cwd);
  writeFileSync(`${cwd}/${program}`, text);
  const { status, stderr } = run([program], { cwd });
  assertEquals(status, 0, stderr);
  assertEquals(readdirSync(cwd).filter((name) => name.endsWith(".snapshot")).length, 1, stderr);
});

test("a full disk: the program ends as it does untraced, and it is said why there is no snapshot", (context) => {
  const disk = folder.path("disk"), program = folder.path("full.ts");
  mkdirSync(disk);
  writeFileSync(program, text);
  if (spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", disk]).status !== 0) {
    return context.skip("mounting a small disk needs root");
  }
  try {
    writeFileSync(`${disk}/fill`, new Uint8Array(60_000));
    const { status, stderr } = run(["-o", folder.path("full.snapshot"), program], { env: { TMPDIR: disk } });
    assertEquals(status, 0, stderr);
    assertMatch(stderr, /^tracemalloc: cannot write \S+: system error 28$/m);
    assertMatch(stderr, /^tracemalloc run: there is no snapshot/m);
    rmSync(`${disk}/fill`);
    assertEquals(readdirSync(disk), []);
  } finally {
    assertEquals(spawnSync("umount", [disk]).status, 0);
  }
});

test("workers that start and stop it at once, terminated meanwhile; a handler of the program's own", () => {
  const program = fileURLToPath(new URL("starting_workers.ts", import.meta.url));
  const line = readFileSync(program, "utf8").split("\n").findIndex((line) => line.includes("1_999_927) })")) + 1;
  for (const args of [[program], [`${root}cli.ts`, "run", "-o", folder.path("workers.snapshot"), program]]) {
    const { status, signal, stdout, stderr } = spawnSync(runtime, [...runtimeFlags, ...args], {
      encoding: "utf8",
      cwd: root,
      env: process.env,
    });
    assertEquals([status, signal, stdout], [0, null, `${program}:${line}\n`], stderr);
    assert(!/panic|rror:/.test(stderr), stderr);
  }
});
