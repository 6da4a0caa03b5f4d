/**
 * Runs every check and then every test file on Deno and on Bun, some on Node, each file in a process of its own, and ends
 * with one line `N passed, N failed`: a check counts as one, a test as one for each runtime.
 *
 *   npm test                                everything, from a fresh clone on
 *   npm test -- --only model                checks and test files whose name contains "model" (may be repeated)
 *   npm test -- --only tests/ --on bun      test files on one runtime (may be repeated; node is one of three)
 *   npm test -- --jobs 1                    one test file at a time (default: 2)
 *   npm test -- --verbose                   the output of what passed, too
 *   npm run test:long                       what takes minutes to hours, and no check; on Deno
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { argv, env, execPath, exit, stdout } from "node:process";
import { parseArgs } from "node:util";
import { checks, runners, runtimesOf, tests } from "./checks.mjs";
import { countTests } from "./junit.mjs";
import { root, runtimes } from "./runtimes.mjs";
import { setup } from "./setup.mjs";

/** Milliseconds that one command may take. */
const timeLimit = (options) => (options.long ? 600 : 20) * 60_000;

const { values: options } = readOptions();
for (const runtime of options.on ?? []) {
  if (!(runtime in runners)) usage(`unknown runtime ${runtime}: expected ${Object.keys(runners).join(", ")}`);
}
if (!/^[1-9]\d*$/.test(options.jobs)) usage(`--jobs must be a whole number from 1 on, not ${options.jobs}`);
const totals = { passed: 0, failed: 0, skipped: 0 };

try {
  setup();
} catch (error) {
  say(`FAILED setup\n${error.message}`);
  count({ failed: 1 });
  finish();
}

for (const check of options.long ? [] : checks) {
  if (wanted(check.name)) await runCheck(check);
}
const jobs = findTests(tests.folder).flatMap((file) =>
  (options.on ?? runtimesOf(file)).map((runtime) => ({ file, runtime }))
);
await Promise.all(Array.from({ length: Number(options.jobs) }, async () => {
  for (let job = jobs.shift(); job !== undefined; job = jobs.shift()) await runTests(job);
}));
if (totals.passed + totals.failed === 0) {
  say(`FAILED nothing to run: no check and no test file contains ${options.only.join(" or ")}`);
  count({ failed: 1 });
}
finish();

function readOptions() {
  try {
    return parseArgs({
      args: argv.slice(2),
      options: {
        only: { type: "string", multiple: true, default: [] },
        on: { type: "string", multiple: true },
        jobs: { type: "string", default: "2" },
        verbose: { type: "boolean", default: false },
        long: { type: "boolean", default: false },
      },
    });
  } catch (error) {
    usage(error.message);
  }
}

function usage(problem) {
  say(`test: ${problem}; usage: npm test -- [--only NAME]… [--on deno|bun|node]… [--jobs N] [--verbose] [--long]`);
  exit(2);
}

function wanted(name) {
  return options.only.length === 0 || options.only.some((part) => name.includes(part));
}

function findTests(folder) {
  return readdirSync(root + folder, { withFileTypes: true })
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap((entry) => {
      const path = `${folder}/${entry.name}`;
      if (path === tests.except) return [];
      if (entry.isDirectory()) return findTests(path);
      return path.endsWith(options.long ? tests.longEnding : tests.ending) && wanted(path) ? [path] : [];
    });
}

async function runCheck({ name, command }) {
  const { problem, output, seconds } = await run(command);
  count(problem ? { failed: 1 } : { passed: 1 });
  report(`check ${name}`, problem, "", seconds, output);
}

async function runTests({ file, runtime }) {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-test-"));
  try {
    const path = join(folder, "report.xml");
    const { problem, output, seconds } = await run(runners[runtime](file, path));
    const found = countTests(path);
    // A file that crashes, or that holds no test, has failed, whatever it reported.
    const unexplained = found.failed > 0
      ? undefined
      : problem ?? (found.passed + found.skipped === 0 ? "it ran no test" : undefined);
    if (unexplained !== undefined) found.failed += 1;
    count(found);
    const failure = found.failed === 0 ? undefined : unexplained ?? `${found.failed} failed`;
    report(`${runtime} ${file}`, failure, `${found.passed} passed, `, seconds, output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs a command with its output held back. `problem` is undefined where it exited with 0. */
function run([program, ...args]) {
  const started = performance.now();
  return new Promise((resolve) => {
    const child = spawn(executable(program), args, {
      cwd: root,
      env: { ...env, PATH: `${root}node_modules/.bin:${env["PATH"]}`, NO_COLOR: "1", DENO_NO_UPDATE_CHECK: "1" },
      stdio: ["ignore", "pipe", "pipe"],
      timeout: timeLimit(options),
      killSignal: "SIGKILL",
    });
    const chunks = [];
    child.stdout.on("data", (chunk) => chunks.push(chunk));
    child.stderr.on("data", (chunk) => chunks.push(chunk));
    const end = (problem) =>
      resolve({ problem, output: Buffer.concat(chunks).toString(), seconds: (performance.now() - started) / 1000 });
    child.on("error", (error) => end(`${program} cannot be started: ${error.message}`));
    child.on("close", (code, signal) => {
      end(code === 0 ? undefined : signal === null ? `exit code ${code}` : `ended by ${signal}`);
    });
  });
}

function executable(program) {
  if (program === "node") return execPath;
  return program === "node26" ? runtimes.node : runtimes[program] ?? program;
}

function report(what, problem, details, seconds, output) {
  const time = `${details}${seconds.toFixed(1)} s`;
  if (problem === undefined) say(`ok     ${what} (${time})`);
  else say(`FAILED ${what}: ${problem} (${time})`);
  if (problem !== undefined || options.verbose) say(output.trimEnd().replace(/^/gm, "       | "));
}

function count({ passed = 0, failed = 0, skipped = 0 }) {
  totals.passed += passed;
  totals.failed += failed;
  totals.skipped += skipped;
}

function say(text) {
  stdout.write(`${text}\n`);
}

function finish() {
  const { passed, failed, skipped } = totals;
  say(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}`);
  exit(failed === 0 ? 0 : 1);
}
