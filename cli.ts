/**
 * The command line: `deno run -A cli.ts --help`, `bun cli.ts --help`.
 *
 * @module
 */
import { runMain } from "./lib/cli/main.ts";

if (import.meta.main) await runMain();
