/** Builds the shim with the system's C compiler (`$CC`, or `cc`), unless it is built already; prints its path. */
import process from "node:process";
import { UnsupportedError } from "../lib/model/errors.ts";
import { ensureShim } from "../lib/runtime/shim_file.ts";

try {
  console.log(ensureShim());
} catch (error) {
  if (!(error instanceof UnsupportedError)) throw error;
  console.error(`shim: ${error.message}`);
  process.exit(1);
}
