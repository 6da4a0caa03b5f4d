/**
 * Loaded before a program that `tracemalloc run` starts, in the program's own process: names the frames, and leaves an
 * image for the command line when the program ends. What it needs stands in its URL, so that the program's environment
 * and arguments are its own: `?shim=PATH&transfer=PATH&domains=NAMES&jsInterval=BYTES&milliseconds=N&bytes=N&signal=N`; in a
 * child that is followed, `&child=1` too, or `&parent=PID` of another process than its parent, and the process's number is put
 * behind the path.
 *
 * It and all it imports use no package: names of packages mean what the program's own configuration says.
 */
import process from "node:process";
import type { DomainName } from "../model/domain.ts";
import { UnsupportedError } from "../model/errors.ts";
import { Result } from "../tracer/abi.ts";
import { joinTracing, saveLastTransfer, saveTransfer, startOutput } from "../tracer/tracing.ts";

const settings = new URL(import.meta.url).searchParams;
// Node's --require takes no URLs: what the command line has it load leaves them there, and itself among the options.
const { tracemallocSettings } = process as { tracemallocSettings?: string };
if (tracemallocSettings !== undefined) {
  for (const [name, value] of new URLSearchParams(tracemallocSettings)) settings.append(name, value);
  delete (process as { tracemallocSettings?: string }).tracemallocSettings;
}
// Set for the engine, and not the program's.
for (const name of settings.getAll("unset")) delete process.env[name];
const shim = settings.get("shim");
let transfer = settings.get("transfer");
if (shim === null || transfer === null) throw new Error("the agent is loaded by `tracemalloc run` only");
const parent = settings.get("parent");
const isChild = settings.has("child") || (parent !== null && process.ppid !== Number(parent));
if (isChild) transfer += `.${process.pid}`;
const path = transfer;

const domains = settings.get("domains")?.split(",") as DomainName[] | undefined,
  jsInterval = settings.get("jsInterval");
try {
  joinTracing(shim, {
    ...(domains && { domains }),
    ...(jsInterval !== null && { jsInterval: Number(jsInterval) }),
  });
} catch (error) {
  if (!(error instanceof UnsupportedError)) throw error;
  console.error(`tracemalloc run: ${error.message}`);
  process.exit(1);
}

const [milliseconds = 0, bytes = 0, signal = 0] = ["milliseconds", "bytes", "signal"].map((name) =>
  isChild ? 0 : Number(settings.get(name))
);
// Where no JavaScript can run any more, the shim still can.
const result = startOutput({ path, milliseconds, bytes, signal });
if (result === Result.signal) {
  console.warn("tracemalloc: the runtime itself uses the signal for snapshots: choose another with --signal");
} else if (result !== Result.ok) {
  console.warn(`tracemalloc: there will be snapshots only at an orderly end of the program (${result})`);
}

/** The program's end is its own, whatever becomes of the snapshot. */
function saveIfPossible(save: (path: string) => unknown): void {
  try {
    save(path);
  } catch (error) {
    console.warn(`tracemalloc: ${error instanceof Error ? error.message : error}`);
  }
}

// At the end of the event loop and on exit() alike.
const saveLast = () => saveIfPossible(saveLastTransfer);
if (!("Deno" in globalThis)) process.on("exit", saveLast);
else addEventListener("unload", saveLast);
// An error that nobody handles ends the program without the former. Should it be handled, the end overwrites this.
const save = () => saveIfPossible(saveTransfer);
if ("Deno" in globalThis || "Bun" in globalThis) {
  addEventListener("error", save);
  addEventListener("unhandledrejection", save);
}
