/** A system that refuses what the tracer asks it for, or takes it away; who looks at the process from outside. */
import { assertEquals, assertMatch } from "@std/assert";
import { spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { after, test, type TestContext } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { compile, makeFolder, once, ownersOf, root, runtime, runtimeFlags } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const program = fileURLToPath(new URL("confined.ts", import.meta.url));
const line = 1 +
  readFileSync(program, "utf8").split("\n").findIndex((line) => line.includes("the line that is looked for"));
const own = `${program}:${line}`, native = /^<native (?:deno|bun)>:0\n$/;
const onBun = "Bun" in globalThis;

/** Runs a program of the runtime behind other words of a command. */
function runBehind(command: readonly string[], ...args: readonly string[]): SpawnSyncReturns<string> {
  const [file = "", ...rest] = [...command, runtime, ...runtimeFlags, ...args];
  return spawnSync(file, rest, { encoding: "utf8", cwd: root, env: { ...process.env, NO_COLOR: "1" } });
}

const run = (
  output: string,
  ...args: readonly string[]
) => [`${root}cli.ts`, "run", "-o", folder.path(output), ...args];

/** Linux on x86-64: numbers of system calls, and of errors. */
const calls = { process_vm_readv: 310, membarrier: 324, mincore: 27, tgkill: 234 }, errors = { EPERM: 1, ENOSYS: 38 };

let confine: string | undefined;

for (const [error, number] of Object.entries(errors)) {
  for (const [call, of] of Object.entries(calls)) {
    test(`a filter that refuses ${call} with ${error}`, () => {
      confine ??= compile("confine.c", folder.path("confine"));
      const { status, stdout, stderr } = runBehind([confine, String(of), String(number)], program);
      assertEquals(status, 0, stderr);
      if (call !== "process_vm_readv") return assertEquals([stdout, stderr], [`${own}\n`, ""]);
      assertMatch(stdout, native);
      assertMatch(stderr, /^tracemalloc: native frames only, .*process_vm_readv is refused .*: allow it\n$/);
    });
  }
}

test("under run, a filter that refuses process_vm_readv: the program ends as it would, and there is a snapshot", () => {
  confine ??= compile("confine.c", folder.path("confine"));
  const { status, stderr } = runBehind(
    [confine, String(calls.process_vm_readv), "1"],
    ...run("filter.snapshot", program),
  );
  assertEquals(status, 0, stderr);
  assertMatch(stderr, /process_vm_readv is refused/);
  assertEquals(ownersOf(1_999_943, folder.path("filter.snapshot")).length, 1);
});

/** In a mount namespace of its own, which it may change. */
const unshare = ["unshare", "-m", "--propagation", "private"];

function withoutProc(context: TestContext, ...args: readonly string[]): SpawnSyncReturns<string> | undefined {
  if (spawnSync(unshare[0]!, [...unshare.slice(1), "true"]).status === 0) return runBehind(unshare, ...args);
  context.skip("a mount namespace needs root");
  return undefined;
}

test("/proc is gone when start() is called", (context) => {
  const ended = withoutProc(context, program, "unmount");
  if (!ended) return;
  const { status, stdout, stderr } = ended;
  if (onBun) {
    // The shim's place is not known then.
    assertEquals(status, 1);
    return assertMatch(stderr, /UnsupportedError: what \S+ leads to cannot be found out .*: is \/proc mounted\?/);
  }
  assertEquals(status, 0, stderr);
  assertMatch(stdout, native);
  assertMatch(stderr, /^tracemalloc: native frames only, .*: \/proc\/self\/maps cannot be read: mount \/proc\n$/);
});

test("/proc goes while the program runs under run", (context) => {
  const ended = withoutProc(context, ...run("proc.snapshot", program, "unmount"));
  if (!ended) return;
  const { status, stdout, stderr } = ended;
  assertEquals([status, stdout], [0, `${own}\n`], stderr);
  assertEquals(ownersOf(1_999_943, folder.path("proc.snapshot")), [own]);
});

test("no /proc at all, and the shim preloaded, or hooked in", once, (context) => {
  const stress = compile("stress.c", folder.path("stress")), shim = ensureShim();
  const env = { ...process.env, SCALE: "0" };
  const inside = 'umount -l /proc && exec "$@"';
  for (const name of ["threads", "start_and_stop", "thread_ends", "small_stacks"]) {
    for (
      const command of [[stress, name, shim], ["env", `LD_PRELOAD=${shim}`, "TRACEMALLOC_PRELOAD=1", stress, name]]
    ) {
      const { status, signal, stderr } = spawnSync(unshare[0]!, [
        ...unshare.slice(1),
        "sh",
        "-c",
        inside,
        "sh",
        ...command,
      ], {
        encoding: "utf8",
        env,
      });
      if (/unshare/.test(stderr)) return context.skip("a mount namespace needs root");
      assertEquals([status, signal, stderr], [0, null, ""], command.join(" "));
    }
  }
});

test("standard streams that are closed when the program is started", () => {
  const closed = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"], output = "closed.snapshot";
  assertEquals(runBehind(closed, program).status, 0);
  assertEquals(runBehind(closed, ...run(output, program)).status, 0);
  assertEquals(ownersOf(1_999_943, folder.path(output)), [own]);
});

test("a debugger that comes and goes", { ...once, timeout: 60_000 }, async (context) => {
  const stress = compile("stress.c", folder.path("stress-debugged"));
  const child = spawn(stress, ["until_told", ensureShim()], { stdio: ["pipe", "pipe", "pipe"] });
  let stderr = "";
  child.stderr.on("data", (data) => stderr += data);
  const ended = new Promise((resolve) => child.on("close", (...how) => resolve(how)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  let attached = true;
  for (let i = 0; i < 5 && attached; i++) {
    const { status, stdout, error } = spawnSync(
      "gdb",
      ["-nx", "-batch", "-p", String(child.pid), "-ex", "info threads", "-ex", "thread apply all bt 3"],
      { encoding: "utf8" },
    );
    attached = error === undefined && status === 0 && /^\* 1 /m.test(stdout);
    if (attached) assertMatch(stdout, /^ {2}4 +Thread/m);
  }
  child.stdin.end();
  assertEquals(await ended, [0, null], stderr);
  assertEquals(stderr, "");
  if (!attached) context.skip("there is no gdb here that may attach");
});
