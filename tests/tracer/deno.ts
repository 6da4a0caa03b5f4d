import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * The Deno that traced programs run on, whatever runs the test: the pinned one, or the one at the path in `$TRACED_DENO`
 * (`tools/other_denos.mjs` gives some). By the name of its link: to a child that is given as `Deno.execPath()`, Deno's
 * `node:child_process` adds flags of its own, -A among them.
 */
export const deno: string = process.env["TRACED_DENO"] ||
  fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
