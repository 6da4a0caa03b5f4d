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
import { pathToFileURL } from "node:url";
import { install, newestOfEach, run, runTest, say, testVersions } from "./other_versions.mjs";
import { root } from "./runtimes.mjs";

const tests = [
  "stacks_test.ts",
  "lines_test.ts",
  "objects_test.ts",
  "api_test.ts",
  "programs_test.ts",
  "tasks_test.ts",
];

const denos = { name: "Deno", folder: "denos", packageName: "@deno/linux-x64-glibc", executable: "deno" };

/** Is `start()` accepted as it is? */
function keepsPositions(deno) {
  const library = JSON.stringify(pathToFileURL(`${root}mod.ts`).href);
  const program = `data:application/typescript,import { start } from ${encodeURIComponent(library)}; start();`;
  const { status, stderr } = run(deno, ["run", "-A", "--no-check", `--config=${root}deno.json`, program]);
  if (status !== 0) throw new Error(`start() fails on ${deno}:\n${stderr}`);
  return stderr === "";
}

testVersions("other_denos", () => newestOfEach("deno", 2, 4), (version) => {
  const deno = install(denos, version);
  const flag = keepsPositions(deno) ? {} : { DENO_V8_FLAGS: "--detailed-line-info" };
  const v8 = /v8 (\S+)/.exec(run(deno, ["--version"]).stdout)?.[1] ?? "?";
  say(`deno ${version}, V8 ${v8}, ${"DENO_V8_FLAGS" in flag ? "start() with the flag" : "start()"}`);
  return tests.map((file) => runTest(file, { ...flag, TRACED_DENO: deno }));
});
