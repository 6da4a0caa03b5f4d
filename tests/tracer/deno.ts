import { fileURLToPath } from "node:url";

/**
 * The pinned Deno, which traced programs run on whatever runs the test. By the name of its link: to a child that is given as
 * `Deno.execPath()`, Deno's `node:child_process` adds flags of its own, -A among them.
 */
export const deno: string = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
