/**
 * The main job on a real program: runs tests/programs/leaky_server.ts on Deno with its memory traced, and shows the ten
 * lines that own the most. Installs and builds what is missing.
 *
 *   npm run demo
 */
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { argv, exit, stderr } from "node:process";
import { buildNativeLibraries } from "./native_libraries.mjs";
import { root, runtimes } from "./runtimes.mjs";
import { setup } from "./setup.mjs";

const snapshot = ".build/demo.snapshot";

try {
  setup();
  buildNativeLibraries();
} catch (error) {
  stderr.write(`demo: ${error.message}\n`);
  exit(1);
}
mkdirSync(`${root}.build`, { recursive: true });
const args = ["run", "-A", "cli.ts", "run", "-o", snapshot, ...argv.slice(2), "tests/programs/leaky_server.ts"];
const { status, error } = spawnSync(runtimes.deno, args, { cwd: root, stdio: "inherit" });
if (error) stderr.write(`demo: ${runtimes.deno} cannot be started: ${error.message}\n`);
exit(status ?? 1);
