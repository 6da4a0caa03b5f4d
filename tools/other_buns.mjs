/**
 * Other versions of Bun, which npm has, in .build/buns/. As a program it runs the tests of tracing on Bun on each of them:
 * minutes, for every night and not for every change.
 *
 *   npm run test:buns                    the newest of every 1.x from 1.3 on, and 1.4.2, the last without hooks
 *   npm run test:buns -- 1.4.3 1.4.4     just these
 *
 * The last line says how many versions passed; any that did not makes the exit code 1.
 */
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { install, newestOfEach, runTest, say, testVersions } from "./other_versions.mjs";

const tests = [
  "bun_stacks_test.ts",
  "bun_programs_test.ts",
  "bun_buffers_test.ts",
  "bun_platform_test.ts",
  "bun_workers_test.ts",
];

const buns = { name: "Bun", folder: "buns", packageName: "@oven/bun-linux-x64", executable: "bin/bun" };

/** The path of a version of Bun, which is installed if it was not yet. Throws an `Error` that says why it cannot be. */
export function installBun(version) {
  return install(buns, version);
}

if (argv[1] === fileURLToPath(import.meta.url)) {
  testVersions("other_buns", () => [...newestOfEach("bun", 1, 3), "1.4.2"], (version) => {
    const bun = installBun(version);
    say(`bun ${version}`);
    return tests.map((file) => runTest(file, { TRACED_BUN: bun }));
  });
}
