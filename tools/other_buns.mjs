/**
 * Other versions of Bun, which npm has, in .build/buns/. As a program it runs the tests of tracing on Bun on each of them:
 * minutes, for every night and not for every change.
 *
 *   npm run test:buns                    the newest of every 1.x from 1.3 on, and 1.4.2, the last without hooks
 *   npm run test:buns -- 1.4.3 1.4.4     just these
 *
 * The last line says how many versions passed; any that did not makes the exit code 1.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { argv, env, exit, stdout } from "node:process";
import { fileURLToPath } from "node:url";
import { root, runtimes } from "./runtimes.mjs";
import { setup } from "./setup.mjs";

const tests = [
  "bun_stacks_test.ts",
  "bun_programs_test.ts",
  "bun_buffers_test.ts",
  "bun_platform_test.ts",
  "bun_workers_test.ts",
];

/** The path of a version of Bun, which is installed if it was not yet. Throws an `Error` that says why it cannot be. */
export function installBun(version) {
  const folder = `${root}.build/buns/`, bun = `${folder}${version}/node_modules/@oven/bun-linux-x64/bin/bun`;
  if (existsSync(bun)) return bun;
  mkdirSync(folder, { recursive: true });
  // Whoever installs at the same time installs the same.
  const unfinished = mkdtempSync(`${folder}.${version}-`);
  const args = ["install", "--prefix", unfinished, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status, stderr } = run("npm", [...args, "--loglevel=error", `@oven/bun-linux-x64@${version}`]);
  if (status !== 0) throw new Error(`npm does not install Bun ${version}: ${stderr.trim()}`);
  try {
    renameSync(unfinished, `${folder}${version}`);
  } catch (error) {
    if (!existsSync(bun)) throw error;
    rmSync(unfinished, { recursive: true });
  }
  return bun;
}

function main() {
  setup();
  const versions = argv.length > 2 ? argv.slice(2) : [...newestOfEach(), "1.4.2"];
  let passed = 0;
  for (const version of versions) {
    const bun = installBun(version);
    say(`bun ${version}`);
    const results = tests.map((file) => runTest(file, { TRACED_BUN: bun }));
    if (results.every((ok) => ok)) passed++;
  }
  say(`${passed} of ${versions.length} versions passed`);
  return passed === versions.length ? 0 : 1;
}

function newestOfEach() {
  const { status, stdout, stderr } = run("npm", ["view", "bun", "versions", "--json"]);
  if (status !== 0) throw new Error(`npm does not say which versions there are: ${stderr.trim()}`);
  const newest = new Map();
  for (const version of JSON.parse(stdout)) {
    const [, major, minor] = /^(\d+)\.(\d+)\.\d+$/.exec(version) ?? [];
    if (Number(major) === 1 && Number(minor) >= 3) newest.set(minor, version);
  }
  return [...newest.values()];
}

function runTest(file, given) {
  const { status, stdout } = run(runtimes.deno, ["test", "-A", "--no-check", `tests/tracer/${file}`], {
    ...given,
    NO_COLOR: "1",
  });
  const summary = /^(?:ok|FAILED) \| .*$/m.exec(stdout)?.[0] ?? `FAILED | exit code ${status}`;
  say(`  ${file}: ${summary}`);
  if (status !== 0) say(stdout.trimEnd().replace(/^/gm, "  | "));
  return status === 0;
}

function run(program, args, given = {}) {
  const result = spawnSync(program, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
    env: { ...env, DENO_NO_UPDATE_CHECK: "1", ...given },
  });
  if (result.error) throw new Error(`${program} cannot be started: ${result.error.message}`);
  return result;
}

function say(text) {
  stdout.write(`${text}\n`);
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  try {
    exit(main());
  } catch (error) {
    say(`other_buns: ${error.message}`);
    exit(1);
  }
}
