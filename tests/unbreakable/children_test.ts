/** Children are left alone unless they are to be followed, and then each has its own snapshot. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { readTransfer } from "../../lib/tracer/traced_image.ts";
import { Snapshot } from "@x/tracemalloc";
import { compile, makeFolder, ownersOf, run, runtime, runtimeFlags } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const program = new URL("children.ts", import.meta.url).pathname;

/** Snapshots in the folder whose name begins so. */
function snapshots(start: string): string[] {
  return readdirSync(folder.path("")).filter((name) => name.startsWith(start)).map(folder.path);
}

test("children are not traced, and see nothing of it", () => {
  const untraced = spawnSync(runtime, [...runtimeFlags, program], { encoding: "utf8" });
  const traced = run(["-o", folder.path("alone.snapshot"), program]);
  assertEquals([traced.status, traced.stdout], [0, untraced.stdout], traced.stderr);
  assertEquals(snapshots("alone"), [folder.path("alone.snapshot")]);
});

test("--follow-children: each has its own snapshot, with its lines, named by its number", () => {
  const { status, stdout, stderr } = run(["--follow-children", "-o", folder.path("all.snapshot"), program]);
  assertEquals([status, stdout], [0, "parent 3\nchild 3\n3\nchild 3\n"], stderr);
  assertEquals(ownersOf(1_999_911, folder.path("all.snapshot")), [`${program}:15`]);
  const children = snapshots("all.").filter((path) => /\.\d+\.snapshot$/.test(path));
  // Two of the runtime, the shell, and what the shell starts.
  assert(children.length >= 4, children.join(" "));
  assertEquals(children.flatMap((path) => ownersOf(1_999_913, path)), Array(2).fill(`${program}:25`));
  for (const path of children) {
    assert(Snapshot.load(path).traces.length > 0, path);
    assertMatch(stderr, new RegExp(`^The snapshot of a child is in ${path}\\.$`, "m"));
  }
});

test("forks without exec, in the middle of what other threads allocate, leave images of their own", () => {
  const stress = compile("stress.c", folder.path("stress")), shim = ensureShim();
  const { status, stdout, stderr } = spawnSync(stress, ["followed"], {
    encoding: "utf8",
    env: {
      ...process.env,
      LD_PRELOAD: shim,
      TRACEMALLOC_PRELOAD: "1",
      TRACEMALLOC_FOLLOW: `${shim}\n${folder.path("transfer")}\n`,
    },
  });
  assertEquals(status, 0, stderr);
  const pids = new Set(stdout.trim().split("\n"));
  assertEquals(pids.size, 8);
  for (const pid of pids) {
    const { image } = readTransfer(new Uint8Array(readFileSync(folder.path(`transfer.${pid}`))));
    assertEquals(image.pid, Number(pid));
    const row = image.rowSize.indexOf(1_999_917);
    assertEquals(image.rowBlocks[row], 1);
  }
});
