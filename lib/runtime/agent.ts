/**
 * Loaded before a program that `tracemalloc run` starts, in the program's own process: names the frames, and leaves an
 * image for the command line when the program ends. What it needs stands in its URL, so that the program's environment
 * and arguments are its own: `?shim=PATH&transfer=PATH`.
 *
 * It and all it imports use no package: names of packages mean what the program's own configuration says.
 */
import { joinTracing, saveTransfer } from "../tracer/tracing.ts";

const settings = new URL(import.meta.url).searchParams;
const shim = settings.get("shim"), transfer = settings.get("transfer");
if (shim === null || transfer === null) throw new Error("the agent is loaded by `tracemalloc run` only");

joinTracing(shim);

const save = () => saveTransfer(transfer);
// At the end of the event loop and on exit() alike.
addEventListener("unload", save);
// An error that nobody handles ends the program without the former. Should it be handled, the end overwrites this.
addEventListener("error", save);
addEventListener("unhandledrejection", save);
