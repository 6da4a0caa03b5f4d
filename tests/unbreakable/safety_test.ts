/** What tracing leaves on the disk, and what it loads from there, is the user's alone. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  cpSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { cli } from "../cli/runtimes.ts";
import { deno, makeFolder, once, ownersOf, root, run, runtime, runtimeFlags } from "./run.ts";

const folder = makeFolder();
after(() => folder.remove());
const program = folder.path("program.ts");
writeFileSync(
  program,
  `import process from "node:process";
Object.assign(globalThis, { kept: new Uint8Array(1_999_919) });
process.kill(process.pid, process.argv[2]);
`,
);
const secret = "an-argument-or-variable-that-is-secret";

test("a snapshot is its owner's alone, whatever the umask, and was never anything else", () => {
  const before = process.umask(0);
  try {
    const path = folder.path("open.snapshot");
    assertEquals(run(["-o", path, program, "SIGTERM"]).signal, "SIGTERM");
    assertEquals(statSync(path).mode & 0o777, 0o600);
  } finally {
    process.umask(before);
  }
});

test("a symbolic link in the snapshot's place is replaced, and not followed", () => {
  const target = folder.path("precious"), path = folder.path("link.snapshot");
  writeFileSync(target, "precious");
  symlinkSync(target, path);
  assertEquals(run(["-o", path, program, "SIGTERM"]).signal, "SIGTERM");
  assertEquals(readFileSync(target, "utf8"), "precious");
  assert(lstatSync(path).isFile());
});

test("a pipe that somebody has put where the snapshot would go by itself is replaced, and not written to", () => {
  const cwd = folder.path("pipes"), script = join(cwd, "pipe.ts");
  mkdirSync(cwd);
  writeFileSync(
    script,
    `import process from "node:process";
import { spawnSync } from "node:child_process";
spawnSync("mkfifo", [\`tracemalloc-pipe.ts.\${process.pid}.snapshot\`]);
`,
  );
  const { status, stderr } = run([script], { cwd });
  assertEquals(status, 0, stderr);
  const [name] = readdirSync(cwd).filter((name) => name.endsWith(".snapshot"));
  assert(lstatSync(join(cwd, name!)).isFile());
});

test("a path with what the loader takes to be between two names", once, () => {
  const copy = folder.path("a b:c");
  mkdirSync(copy);
  for (
    const part of ["lib", "shim", "mod.ts", "cli.ts", "deno.json", "package.json", "schema", "vendor", "tsconfig.json"]
  ) {
    cpSync(`${root}${part}`, join(copy, part), { recursive: true });
  }
  symlinkSync(`${root}node_modules`, join(copy, "node_modules"));
  const path = folder.path("spaces.snapshot");
  const { signal, stderr } = spawnSync(
    runtime,
    [...runtimeFlags, join(copy, "cli.ts"), "run", "-o", path, program, "SIGTERM"],
    { cwd: copy, encoding: "utf8" },
  );
  assertEquals(signal, "SIGTERM", stderr);
  assertEquals(ownersOf(1_999_919, path), [`${program}:2`]);
});

test("arguments and environment are not recorded; with --no-metadata nothing is but the traces", () => {
  const path = folder.path("secret.snapshot");
  const env = { A_VARIABLE: secret };
  assertEquals(run(["-o", path, program, "SIGTERM", secret], { env }).signal, "SIGTERM");
  assert(!readFileSync(path).includes(secret));
  const metadata = [
    "runtime",
    "runtimeVersion",
    "engine",
    "platform",
    "pid",
    "createdAt",
    "calibration",
    "attribution",
  ];
  const known = () =>
    Object.keys(JSON.parse(cli("info", "--json", path).stdout)).filter((key) => metadata.includes(key));
  assertEquals(known().sort(), [...metadata].sort());
  assertEquals(run(["-o", path, "--no-metadata", program, "SIGTERM"]).signal, "SIGTERM");
  assertEquals(known(), []);
});

/** A copy of what builds the shim, with a build of its own; `load` prints the shim's path, or why it is not loaded. */
function copyOfShim(name: string): { builds: string; load(uid?: number): string } {
  const copy = folder.path(name);
  for (const part of ["lib", "shim", "tools/build_shim.ts"]) {
    cpSync(`${root}${part}`, join(copy, part), { recursive: true });
  }
  return {
    builds: join(copy, ".build/shim"),
    load(uid) {
      const { stdout, stderr } = spawnSync(deno, ["run", "-A", "--no-config", join(copy, "tools/build_shim.ts")], {
        encoding: "utf8",
        env: { ...process.env, ...(uid !== undefined && { DENO_DIR: join(copy, "cache") }) },
        ...(uid !== undefined && { uid }),
      });
      return (stdout + stderr).trim();
    },
  };
}

test("the cached shim is verified by its hash, and built again where it is not what was built", () => {
  const { load } = copyOfShim("hash");
  const path = load(), built = readFileSync(path);
  assertEquals(readFileSync(load()), built);
  const { ino } = statSync(path);
  appendFileSync(path, "more");
  assertEquals(load(), path);
  assertEquals(readFileSync(path), built);
  assert(statSync(path).ino !== ino, "it was written in place");
  assertEquals(readdirSync(join(path, "..")).sort(), ["libtracemalloc.so", "libtracemalloc.so.sha256"]);
});

test("a shim that others can write, or whose folder they can, is not loaded", () => {
  const { builds, load } = copyOfShim("open");
  const path = load();
  for (
    const [at, mode, back] of [[path, 0o775, 0o755], [join(path, ".."), 0o777, 0o755], [builds, 0o775, 0o755], [
      builds,
      0o1777,
      0o755,
    ]] as const
  ) {
    chmodSync(at, mode);
    assertEquals(
      load(),
      `shim: the shim is not loaded from ${path}, for ${at} can be written by others: chmod go-w ${at}`,
    );
    chmodSync(at, back);
    assertEquals(load(), path);
  }
  chmodSync(folder.path("open"), 0o777);
  assertMatch(load(), /for .*\/open can be written by others: chmod go-w /);
});

test(
  "a shim of another user's is not loaded",
  { skip: process.getuid?.() === 0 ? false : "only root can make one" },
  () => {
    const { load } = copyOfShim("other");
    const path = load();
    chownSync(path, 65533, 65533);
    assertEquals(
      load(),
      `shim: the shim is not loaded from ${path}, for ${path} belongs to another user: use a copy of your own`,
    );
    // Root's may be used by all.
    chownSync(path, 0, 0);
    mkdirSync(folder.path("other/cache"));
    chmodSync(folder.path("other/cache"), 0o777);
    assertEquals(load(65533), path);
  },
);

test("what the last build made is loaded unread only where it is as much the library's own as its code", once, () => {
  const { builds } = copyOfShim("last");
  mkdirSync(builds, { recursive: true });
  const last = join(builds, "libtracemalloc.so"), program = folder.path("last/starts.ts");
  copyFileSync(ensureShim(), last);
  writeFileSync(
    program,
    `import { start } from "./lib/tracer/tracing.ts";
try {
  start();
  console.log("started");
} catch (error) {
  if (error.code !== "UNSUPPORTED") throw error;
  console.log(error.message);
}
`,
  );
  const start = (...flags: string[]) => {
    const args = ["run", "--no-prompt", "--no-config", "--allow-sys", ...flags, program];
    const { stdout, stderr } = spawnSync(deno, args, { encoding: "utf8", env: { ...process.env, NO_COLOR: "1" } });
    return (stdout + stderr).trim();
  };
  const thisOnly = `--allow-ffi=${last}`, toRead = `--allow-read=${folder.path("last")}`;
  assertEquals(start("--allow-ffi"), "started");
  assertEquals(start(thisOnly, toRead), "started");
  assertMatch(start(thisOnly), /for whose it is cannot be seen: add --allow-read \(or --allow-read=\S+\)$/);
  const refused = (why: string) => {
    const text = `the shim is not loaded from ${last}, for ${why}`;
    assertEquals([start("--allow-ffi"), start(thisOnly, toRead)], [text, text]);
  };
  for (const [at, mode] of [[last, 0o755], [builds, 0o755], [join(builds, ".."), 0o755]] as const) {
    chmodSync(at, mode | 0o022);
    refused(`${at} can be written by others: chmod go-w ${at}`);
    chmodSync(at, mode);
  }
  const moved = `${last}.moved`;
  renameSync(last, moved);
  symlinkSync(moved, last);
  refused(`${last} is a link: remove it, and build the shim`);
  rmSync(last);
  assertMatch(start("--allow-ffi"), /^the shim \S+ cannot be loaded: build it with/);
  renameSync(moved, last);
  if (process.getuid?.() !== 0) return;
  chownSync(last, 65533, 65533);
  refused(`${last} belongs to another user: use a copy of your own`);
});

test("temporary files are not put where others could put theirs instead", () => {
  const temporary = folder.path("temporary"), output = folder.path("temporary.snapshot");
  const traced = () => run(["-o", output, program, "SIGTERM"], { env: { TMPDIR: temporary } });
  const refused = (why: string) => {
    const { status, stderr } = traced();
    const text = `${temporary} is no place for a program's traces, for ${temporary} ${why}: set TMPDIR to another`;
    assertEquals([status, stderr], [1, `tracemalloc run: ${text}\n`]);
    assertEquals(readdirSync(temporary), []);
  };
  mkdirSync(temporary);
  chmodSync(temporary, 0o777);
  refused("can be written by others");
  chmodSync(temporary, 0o1777);
  assertEquals(traced().signal, "SIGTERM");
  if (process.getuid?.() === 0) {
    chownSync(temporary, 65533, 65533);
    refused("belongs to another user");
  }
  rmSync(temporary, { recursive: true });
  const { status, stderr } = traced();
  assertEquals(status, 1);
  assertMatch(stderr, /^tracemalloc run: no temporary folder can be made \(.*\): set TMPDIR to another\n$/);
});
