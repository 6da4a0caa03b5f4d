/** Snapshots while the program runs: on demand, and from time to time. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { existsSync, readdirSync, statSync } from "node:fs";
import process from "node:process";
import { after, test } from "node:test";
import { makeFolder, ownersOf, start } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const program = new URL("busy.ts", import.meta.url).pathname;

for (const name of ["SIGUSR2", "SIGVTALRM"] as const) {
  test(`${name} writes a snapshot, also while JavaScript is in a busy loop, and the program goes on`, async () => {
    const output = folder.path(`${name}.snapshot`), first = folder.path(`${name}.1.snapshot`);
    const traced = start(["-o", output, ...(name === "SIGUSR2" ? [] : ["--signal", name]), program]);
    const pid = Number(await traced.line());
    // To the program itself.
    process.kill(pid, name);
    await traced.until(() => existsSync(first));
    // To the command line, which passes it on.
    process.kill(traced.pid, name);
    await traced.until(() => existsSync(folder.path(`${name}.2.snapshot`)));
    process.kill(pid, "SIGTERM");
    const { signal, stderr } = await traced.ended;
    assertEquals(signal, "SIGTERM");
    assertMatch(stderr, new RegExp(`^The snapshot is in ${first}\\.\\n`));
    for (const path of [first, folder.path(`${name}.2.snapshot`), output]) {
      assertEquals(ownersOf(1_999_909, path), [`${program}:10`]);
    }
  });
}

test("--signal none: SIGUSR2 ends the program, as it would untraced", async () => {
  const output = folder.path("none.snapshot");
  const traced = start(["-o", output, "--signal", "none", program]);
  process.kill(Number(await traced.line()), "SIGUSR2");
  assertEquals((await traced.ended).signal, "SIGUSR2");
});

for (const every of ["300ms", "2MiB"]) {
  test(`--every ${every}: the last whole snapshot survives SIGKILL, of the command line, too`, async () => {
    const output = folder.path(`every-${every}.snapshot`);
    const traced = start(["-o", output, "--every", every, program]);
    const pid = Number(await traced.line());
    await traced.until(() => existsSync(output));
    const { mtimeMs } = statSync(output);
    await traced.until(() => statSync(output).mtimeMs > mtimeMs);
    process.kill(traced.pid, "SIGKILL");
    process.kill(pid, "SIGKILL");
    await traced.ended;
    assertEquals(ownersOf(1_999_909, output), [`${program}:10`]);
  });
}

test("a program that is killed: the last snapshot is the one, and its age is said", async () => {
  const output = folder.path("killed.snapshot");
  const traced = start(["-o", output, "--every", "200ms", program]);
  const pid = Number(await traced.line());
  await traced.until(() => existsSync(output));
  process.kill(pid, "SIGKILL");
  const { signal, stderr } = await traced.ended;
  assertEquals(signal, "SIGKILL");
  assertMatch(stderr, /^The program was killed: this is the last snapshot, of [0-9.]+ s before\.$/m);
  assert(!readdirSync(folder.path("")).some((name) => name.includes("unfinished") || name.includes(".tmp")));
});
