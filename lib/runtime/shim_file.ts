/** The shim's shared object: where it is, and how it is built from shim/ with the system's compiler. */
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
  // Another copy of the shim in the process has functions of the same names: each calls its own.
  "-Wl,-Bsymbolic-functions",
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

/** Opens shims, each once; without a path, the one that was asked for last, at first the library's own. */
export function keepShims<S>(ownPath: () => string, open: (path: string) => S): (path?: string) => S {
  const shims = new Map<string, S>();
  let last: string | undefined;
  return (path) => {
    const wanted = path ?? last ?? ownPath(), shim = shims.get(wanted) ?? open(wanted);
    shims.set(wanted, shim);
    last = wanted;
    return shim;
  };
}

/** Who a file belongs to, and what it is. */
export interface Owned {
  readonly uid: number;
  readonly mode: number;
}

/**
 * Refuses {@linkcode lastBuilt} where it is not as much the library's own as its code is: `look` says whose a file is, links
 * not followed; `undefined`: there is none; `null`: the program may not look without the permission.
 */
export function checkLastBuilt(look: (path: string) => Owned | null | undefined, permission: string): void {
  const paths = [root, `${root}.build`, builds.slice(0, -1), lastBuilt];
  const [library, ...parts] = paths.map((path) => ({ path, owned: look(path) }));
  for (const { path, owned } of parts) {
    if (owned === null || library!.owned === null) {
      throw refused(lastBuilt, `whose it is cannot be seen: add ${permission} (or ${permission}=${root})`);
    }
    if (owned === undefined) return;
    if ((owned.mode & 0o170000) === 0o120000) {
      throw refused(lastBuilt, `${path} is a link: remove it, and build the shim`);
    }
    if (owned.uid !== 0 && owned.uid !== library!.owned?.uid) throw notOurs(lastBuilt, { path, why: anotherUsers });
    if (canBeWrittenByOthers(owned, true)) throw notOurs(lastBuilt, { path, why: openToOthers });
  }
}

/** Why something at a path is not the user's alone. */
interface NotOurs {
  readonly path: string;
  readonly why: typeof anotherUsers | typeof openToOthers;
}

const anotherUsers = "belongs to another user", openToOthers = "can be written by others";

function notOurs(shim: string, { path, why }: NotOurs): UnsupportedError {
  return refused(shim, `${path} ${why}: ${why === anotherUsers ? "use a copy of your own" : `chmod go-w ${path}`}`);
}

function refused(shim: string, why: string): UnsupportedError {
  return new UnsupportedError(`the shim is not loaded from ${shim}, for ${why}`);
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
  const problem = findOthers(path, `${realPath(root)}/.build/`);
  if (problem !== undefined) throw notOurs(path, problem);
}

/**
 * Could others put something else in the place of what is at the path, for they own or may write it or a folder above?
 * `undefined`: they cannot. Nobody else is even to add files to the folders in `ours`.
 */
export function findOthers(path: string, ours?: string): NotOurs | undefined {
  const user = process.getuid?.();
  for (let at = realPath(path);; at = at.slice(0, at.lastIndexOf("/"))) {
    const stats = statSync(at || "/");
    if (stats.uid !== 0 && stats.uid !== user) return { path: at || "/", why: anotherUsers };
    const isOurs = ours !== undefined && at.startsWith(ours);
    if (canBeWrittenByOthers(stats, isOurs)) return { path: at || "/", why: openToOthers };
    if (at === "") return undefined;
  }
}

/** Some runtimes ask /proc. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch (cause) {
    const { message } = cause as Error;
    throw new UnsupportedError(`what ${path} leads to cannot be found out (${message}): is /proc mounted?`, { cause });
  }
}

/**
 * A group is others for what is ours alone, and nobody else is to add files there. In other folders, like /tmp, nobody can put
 * a file in the place of somebody else's.
 */
function canBeWrittenByOthers({ mode }: Owned, ours: boolean): boolean {
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
