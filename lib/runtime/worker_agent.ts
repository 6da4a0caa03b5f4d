/** Loaded before the program of a worker whose parent is traced: see bun_workers.ts. It and all it imports use no package. */
import { UnsupportedError } from "../model/errors.ts";
import { joinTracing } from "../tracer/tracing.ts";
import { takeWorkerSettings } from "./bun_workers.ts";

const settings = takeWorkerSettings();
if (settings !== undefined) {
  try {
    joinTracing(settings.shim, { domains: settings.domains });
  } catch (error) {
    if (!(error instanceof UnsupportedError)) throw error;
    // The worker is the program's, and runs all the same.
    console.warn(`tracemalloc: lines of a worker are not known: ${error.message}`);
  }
}
