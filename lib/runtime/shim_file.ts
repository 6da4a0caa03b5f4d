/** The shim's shared object: where it is, and how it is built from shim/ with the system's compiler. */
import type { Stats } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { UnsupportedError } from "../model/errors.ts";

// Not imported: what a program imports by name later is as it was when it was first imported, and may have to be replaced.
const { spawnSync } = process.getBuiltinModule("node:child_process");
const { createHash } = process.getBuiltinModule("node:crypto");
const {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  statSync,
  writeFileSync,
} = process.getBuiltinModule("node:fs");

const root = fileURLToPath(new URL("../../", import.meta.url));
const sources = `${root}shim/`;
const builds = `${root}.build/shim/`;

/** What the last build made, whatever the sources are now: for programs that may not read them. */
export const lastBuilt: string = `${builds}libtracemalloc.so`;

/** gcc and clang alike. No call of ours may become one of malloc, and frame pointers are what we walk along. */
const flags = [
  ..."-std=c11 -D_GNU_SOURCE -O2 -g -fPIC -shared -fvisibility=hidden -fno-plt -fno-omit-frame-pointer".split(" "),
  ..."-fno-builtin-malloc -fno-builtin-calloc -fno-builtin-realloc -fno-builtin-free".split(" "),
  ..."-Wall -Wextra -Werror".split(" "),
  // Runtimes close libraries when they end; ours is called until the very last.
  "-Wl,-z,nodelete",
];

/**
 * The path of the shim built from the sources as they are, which is built now if it was not yet.
 *
 * The compiler is `$CC`, or `cc`. `forTests` are definitions (`-DNAME`) of a shim that is for tests alone. Throws an
 * `UnsupportedError` when there is no compiler, or when it fails.
 */
export function ensureShim(
  compiler: string = process.env["CC"] || "cc",
  forTests: readonly string[] = [],
): string {
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new UnsupportedError(`the shim knows linux-x64 only, and this is ${process.platform}-${process.arch}`);
  }
  const files = readdirSync(sources).filter((name) => /\.[ch]$/.test(name)).sort();
  const options = [...flags, ...forTests];
  const hash = createHash("sha256").update([compiler, ...options].join("\0"));
  for (const name of files) hash.update(`${name}\0`).update(readFileSync(sources + name)).update("\0");
  const folder = `${builds}${hash.digest("hex").slice(0, 16)}/`;
  const target = `${folder}libtracemalloc.so`;
  if (!isWhole(target)) {
    mkdirSync(folder, { recursive: true, mode: 0o755 });
    refuseWhatOthersCanWrite(folder);
    // Whoever builds at the same time makes the same file.
    const unfinished = `${folder}${process.pid}.so`;
    const parts = files.filter((name) => name.endsWith(".c")).map((name) => sources + name);
    compile(compiler, [...options, "-o", unfinished, ...parts, "-lm"]);
    chmodSync(unfinished, 0o755);
    writeFileSync(`${unfinished}.sha256`, hashOf(unfinished), { mode: 0o644 });
    renameSync(unfinished, target);
    renameSync(`${unfinished}.sha256`, `${target}.sha256`);
    if (forTests.length === 0) {
      copyFileSync(target, `${builds}${process.pid}.so`);
      renameSync(`${builds}${process.pid}.so`, lastBuilt);
    }
  }
  refuseWhatOthersCanWrite(target);
  return target;
}

function hashOf(path: string): string {
  return createHash("sha256").update(readFileSync(path)).digest("hex");
}

/** Is a shim there, and as it was built? */
function isWhole(path: string): boolean {
  const expected = `${path}.sha256`;
  return existsSync(path) && existsSync(expected) && readFileSync(expected, "utf8") === hashOf(path);
}

/** Code that is loaded into programs is the user's own, or the system's, and so are all folders that it is found in. */
function refuseWhatOthersCanWrite(path: string): void {
  const user = process.getuid?.();
  for (let at = realpathSync(path);; at = at.slice(0, at.lastIndexOf("/"))) {
    const stats = statSync(at || "/");
    const problem = stats.uid !== 0 && stats.uid !== user
      ? "belongs to another user: use a copy of your own"
      : canBeWrittenByOthers(stats, at.startsWith(`${realpathSync(root)}/.build/`))
      ? `can be written by others: chmod go-w ${at}`
      : undefined;
    if (problem !== undefined) {
      throw new UnsupportedError(`the shim is not loaded from ${path}, for ${at || "/"} ${problem}`);
    }
    if (at === "") return;
  }
}

/**
 * A group is others for what is ours alone, and nobody else is to add files there. In other folders, like /tmp, nobody can put
 * a file in the place of somebody else's.
 */
function canBeWrittenByOthers({ mode }: Stats, ours: boolean): boolean {
  return ours ? (mode & 0o022) !== 0 : (mode & 0o1002) === 0o002;
}

function compile(compiler: string, args: readonly string[]): void {
  const { error, status, stderr } = spawnSync(compiler, args, { encoding: "utf8" });
  if (error) {
    throw new UnsupportedError(
      `the C compiler ${compiler} cannot be started: install one (on Debian: apt install gcc libc6-dev), or name it in $CC`,
      { cause: error },
    );
  }
  if (status !== 0) {
    const [first = "no message"] = stderr.split("\n").filter((line) => /error/.test(line));
    throw new UnsupportedError(`the C compiler ${compiler} could not build the shim: ${first}`);
  }
}
