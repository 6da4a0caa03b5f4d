// @ts-self-types="./mod.d.ts"

// deno-std ships JavaScript without types: mod.d.ts declares what is re-exported here.
export { SEPARATOR } from "deno-std/path/constants.js";
export { basename } from "deno-std/path/basename.js";
export { dirname } from "deno-std/path/dirname.js";
export { extname } from "deno-std/path/extname.js";
export { fromFileUrl } from "deno-std/path/from_file_url.js";
export { isAbsolute } from "deno-std/path/is_absolute.js";
export { join } from "deno-std/path/join.js";
export { normalize } from "deno-std/path/normalize.js";
export { relative } from "deno-std/path/relative.js";
export { resolve } from "deno-std/path/resolve.js";
export { toFileUrl } from "deno-std/path/to_file_url.js";
