/**
 * Everything that is checked before the tests run, in this order: a name and a command each, run from the root.
 * A check passes when its command exits with 0. `deno` and `bun` are the pinned ones.
 */
import { existsSync } from "node:fs";
import { root } from "./runtimes.mjs";

const sources = ["mod.ts", "cli.ts", "lib", "tests", "bench", "tools", "examples"].filter((path) =>
  existsSync(root + path)
);

export const checks = [
  { name: "format", command: ["deno", "fmt", "--check"] },
  { name: "lint", command: ["deno", "lint"] },
  { name: "types on Deno", command: ["deno", "check", ...sources] },
  { name: "types on Bun and Node", command: ["node", "node_modules/typescript/bin/tsc", "--project", "tsconfig.json"] },
  { name: "layers", command: ["deno", "run", "--allow-read", "tools/layers.ts"] },
  { name: "documentation", command: ["deno", "doc", "--lint", "mod.ts", "cli.ts"] },
  { name: "examples", command: ["deno", "test", "--quiet", "--doc", "-A", "mod.ts", "lib"] },
  { name: "publish", command: ["deno", "publish", "--dry-run", "--allow-dirty"] },
];

/** Where tests are looked for; `tests/programs/` holds programs that tests run. */
export const tests = { folder: "tests", ending: "_test.ts", longEnding: "_long.ts", except: "tests/programs" };

/** Runs on Node, too, what is listed here; files whose name begins with `node_` run there alone. */
const alsoOnNode = ["tests/tracer/api_test.ts", "tests/tracer/objects_test.ts", "tests/cli/commands_test.ts"];

/** On which runtimes a test file is run, where nothing else is said. */
export function runtimesOf(file) {
  if (/\/node_[^/]*$/.test(file)) return ["node"];
  return alsoOnNode.includes(file) ? ["deno", "bun", "node"] : ["deno", "bun"];
}

/** How one test file is run on each runtime, with a JUnit report written to `report`. */
export const runners = {
  deno: (file, report) => ["deno", "test", "-A", "--no-check", `--junit-path=${report}`, file],
  bun: (
    file,
    report,
  ) => ["bun", "test", "--timeout=600000", "--reporter=junit", `--reporter-outfile=${report}`, `./${file}`],
  node: (file, report) => [
    "node26",
    "--test",
    "--test-reporter=junit",
    `--test-reporter-destination=${report}`,
    "--test-reporter=spec",
    "--test-reporter-destination=stdout",
    file,
  ],
};
