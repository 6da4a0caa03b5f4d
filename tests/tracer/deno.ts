import { fileURLToPath } from "node:url";

/** The pinned Deno, which traced programs run on whatever runs the test. */
export const deno: string = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));
