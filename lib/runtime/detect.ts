/** Which runtime is this? */
import { UnsupportedError } from "../model/errors.ts";
import type { Backend } from "./backend.ts";
import { bunBackend } from "./bun.ts";
import { denoBackend } from "./deno.ts";

/** The back end of the runtime that this runs on. Throws `UnsupportedError` where there is none. */
export function detectBackend(): Backend {
  if ("Deno" in globalThis) return denoBackend();
  if ("Bun" in globalThis) return bunBackend();
  const runtime = "process" in globalThis ? "Node.js" : "this runtime";
  throw new UnsupportedError(
    `tracing is not supported on ${runtime} yet: run the program with Deno or Bun; snapshots can be analysed here all the same`,
  );
}
