/** Loaded before the program of a worker whose parent is traced: see bun_workers.ts. It and all it imports use no package. */
import { joinTracing } from "../tracer/tracing.ts";
import { takeWorkerSettings } from "./bun_workers.ts";

const settings = takeWorkerSettings();
if (settings !== undefined) joinTracing(settings.shim, { domains: settings.domains });
