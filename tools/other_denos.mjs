/**
 * Runs the tracer's tests with the traced programs on other versions of Deno, which npm has: no table of versions is kept
 * anywhere, so any must do. Takes minutes: for every night, not for every change.
 *
 *   npm run test:denos                    the newest of every 2.x from 2.4 on
 *   npm run test:denos -- 2.4.0 2.8.3     just these
 *
 * They are kept in .build/denos/. In versions whose profiler does not begin at once, `start()` needs a flag of V8's, and
 * gets it here. The last line says how many versions passed; any that did not makes the exit code 1.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { argv, env, exit, stdout } from "node:process";
import { pathToFileURL } from "node:url";
import { root, runtimes } from "./runtimes.mjs";
import { setup } from "./setup.mjs";

const tests = [
  "stacks_test.ts",
  "lines_test.ts",
  "objects_test.ts",
  "api_test.ts",
  "programs_test.ts",
  "tasks_test.ts",
];

function main() {
  setup();
  const versions = argv.length > 2 ? argv.slice(2) : newestOfEach();
  let passed = 0;
  for (const version of versions) {
    const deno = install(version);
    const flag = keepsPositions(deno) ? {} : { DENO_V8_FLAGS: "--detailed-line-info" };
    const v8 = /v8 (\S+)/.exec(run(deno, ["--version"]).stdout)?.[1] ?? "?";
    const how = "DENO_V8_FLAGS" in flag ? "start() with the flag" : "start()";
    say(`deno ${version}, V8 ${v8}, ${how}`);
    const results = tests.map((file) => runTest(file, { ...flag, TRACED_DENO: deno }));
    if (results.every((ok) => ok)) passed++;
  }
  say(`${passed} of ${versions.length} versions passed`);
  return passed === versions.length ? 0 : 1;
}

function newestOfEach() {
  const { status, stdout, stderr } = run("npm", ["view", "deno", "versions", "--json"]);
  if (status !== 0) throw new Error(`npm does not say which versions there are: ${stderr.trim()}`);
  const newest = new Map();
  for (const version of JSON.parse(stdout)) {
    const [, major, minor] = /^(\d+)\.(\d+)\.\d+$/.exec(version) ?? [];
    if (Number(major) === 2 && Number(minor) >= 4) newest.set(minor, version);
  }
  return [...newest.values()];
}

function install(version) {
  const folder = `${root}.build/denos/${version}`;
  const deno = `${folder}/node_modules/@deno/linux-x64-glibc/deno`;
  if (existsSync(deno)) return deno;
  mkdirSync(folder, { recursive: true });
  const args = ["install", "--prefix", folder, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status, stderr } = run("npm", [...args, "--loglevel=error", `@deno/linux-x64-glibc@${version}`]);
  if (status !== 0 || !existsSync(deno)) throw new Error(`npm does not install Deno ${version}: ${stderr.trim()}`);
  return deno;
}

/** Is `start()` accepted as it is? */
function keepsPositions(deno) {
  const library = JSON.stringify(pathToFileURL(`${root}mod.ts`).href);
  const program = `data:application/typescript,import { start } from ${encodeURIComponent(library)}; start();`;
  const { status, stderr } = run(deno, ["run", "-A", "--no-check", `--config=${root}deno.json`, program]);
  if (status !== 0) throw new Error(`start() fails on ${deno}:\n${stderr}`);
  return stderr === "";
}

function runTest(file, given) {
  const args = ["test", "-A", "--no-check", `tests/tracer/${file}`];
  const { status, stdout } = run(runtimes.deno, args, { ...given, NO_COLOR: "1" });
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

try {
  exit(main());
} catch (error) {
  say(`other_denos: ${error.message}`);
  exit(1);
}
