/** What the tools share that run tests on other versions of a runtime. npm has them; they are kept in .build/. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { argv, env, exit, stdout } from "node:process";
import { root, runtimes } from "./runtimes.mjs";
import { setup } from "./setup.mjs";

/**
 * The path of a version, which is installed if it was not yet. Throws an `Error` that says why it cannot be.
 *
 * `name`: what it is called; `folder`: where versions are kept; `packageName`: npm's for this platform; `executable`: in it.
 */
export function install({ name, folder, packageName, executable }, version) {
  const versions = `${root}.build/${folder}/`;
  const path = `${versions}${version}/node_modules/${packageName}/${executable}`;
  if (existsSync(path)) return path;
  mkdirSync(versions, { recursive: true });
  // Whoever installs at the same time installs the same.
  const unfinished = mkdtempSync(`${versions}.${version}-`);
  const args = ["install", "--prefix", unfinished, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  try {
    const { status, stderr } = run("npm", [...args, "--loglevel=error", `${packageName}@${version}`]);
    if (status !== 0) throw new Error(`npm does not install ${name} ${version}: ${stderr.trim()}`);
    renameSync(unfinished, `${versions}${version}`);
  } catch (error) {
    rmSync(unfinished, { recursive: true });
    if (!existsSync(path)) throw error;
  }
  if (!existsSync(path)) throw new Error(`npm does not install ${name} ${version}: there is no ${path}`);
  return path;
}

/** The newest version of every minor one of `major`, from `least` on. */
export function newestOfEach(packageName, major, least) {
  const { status, stdout, stderr } = run("npm", ["view", packageName, "versions", "--json"]);
  if (status !== 0) throw new Error(`npm does not say which versions there are: ${stderr.trim()}`);
  const newest = new Map();
  for (const version of JSON.parse(stdout)) {
    const [, ofMajor, minor] = /^(\d+)\.(\d+)\.\d+$/.exec(version) ?? [];
    if (Number(ofMajor) === major && Number(minor) >= least) newest.set(minor, version);
  }
  return [...newest.values()];
}

/** Runs a test file of tests/tracer/ on the pinned Deno, in an environment that names what it traces. */
export function runTest(file, given) {
  const args = ["test", "-A", "--no-check", `tests/tracer/${file}`];
  const { status, stdout } = run(runtimes.deno, args, { ...given, NO_COLOR: "1" });
  return report(file, status, stdout, /^(?:ok|FAILED) \| .*$/m.exec(stdout)?.[0] ?? `FAILED | exit code ${status}`);
}

/** Says how a test file went, and all it said where it failed. Returns whether it passed. */
export function report(file, status, output, summary) {
  say(`  ${file}: ${summary}`);
  if (status !== 0) say(output.trimEnd().replace(/^/gm, "  | "));
  return status === 0;
}

/**
 * The whole of such a tool: tests the versions that its arguments name, or the usual ones, and ends the process. The last
 * line says how many passed; any that did not makes the exit code 1.
 *
 * `test`: given a version, says whether each of its test files passed.
 */
export function testVersions(tool, usual, test) {
  try {
    setup();
    const versions = argv.length > 2 ? argv.slice(2) : usual();
    let passed = 0;
    for (const version of versions) if (test(version).every((ok) => ok)) passed++;
    say(`${passed} of ${versions.length} versions passed`);
    exit(passed === versions.length ? 0 : 1);
  } catch (error) {
    say(`${tool}: ${error.message}`);
    exit(1);
  }
}

/** Runs a program from the root, with more in its environment. Throws where it cannot be started. */
export function run(program, args, given = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...env, DENO_NO_UPDATE_CHECK: "1", ...given },
  });
  if (result.error) throw new Error(`${program} cannot be started: ${result.error.message}`);
  return result;
}

export function say(text) {
  stdout.write(`${text}\n`);
}
