/**
 * Runs a program under a plain `start()`: NFRAME SNAPSHOT TRANSFER PROGRAM. The snapshot and the transfer are of the end
 * of the program.
 */
import process from "node:process";
import { pathToFileURL } from "node:url";
import { start, takeSnapshot } from "../../mod.ts";
import { saveTransfer } from "../../lib/tracer/tracing.ts";

// Taken away: the program gets none.
const [nframe, snapshot, transfer, program] = process.argv.splice(2) as [string, string, string, string];
start(Number(nframe));
const save = () => {
  saveTransfer(transfer);
  takeSnapshot().dump(snapshot);
};
if (!("Deno" in globalThis)) process.on("exit", save);
else addEventListener("unload", save);
await import(pathToFileURL(program).href);
