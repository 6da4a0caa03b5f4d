/** Which runtime is this? */
import { UnsupportedError } from "../model/errors.ts";
import type { Backend } from "./backend.ts";
import { bunBackend } from "./bun.ts";
import { denoBackend } from "./deno.ts";
import { nodeBackend } from "./node.ts";

/** The back end of the runtime that this runs on. Throws `UnsupportedError` where there is none. */
export function detectBackend(): Backend {
  if ("Deno" in globalThis) return denoBackend();
  if ("Bun" in globalThis) return bunBackend();
  if ("process" in globalThis) return nodeBackend();
  throw new UnsupportedError(
    "tracing is not supported on this runtime: run the program with Deno, Bun or Node.js; snapshots can be analysed here",
  );
}
