/**
 * Preloaded before a program that `tracemalloc run` traces: leaves a transfer of its own, `?to=PATH`, for it says which
 * tiers of the engine a frame was seen in, and the snapshot does not.
 */
import { saveTransfer } from "../../lib/tracer/tracing.ts";

const to = new URL(import.meta.url).searchParams.get("to");
if (to === null) throw new Error("expected ?to=PATH");
addEventListener("unload", () => saveTransfer(to));
