import { Frame, Snapshot, Trace, Traceback } from "../../mod.ts";

/** A traceback from texts such as `a.ts:3`, the oldest frame first. */
export function traceback(...frames: string[]): Traceback {
  return new Traceback(frames.map((text) => {
    const colon = text.lastIndexOf(":");
    return new Frame(text.slice(0, colon), Number(text.slice(colon + 1)));
  }));
}

/** A trace in domain 0. */
export function trace(size: number, ...frames: string[]): Trace {
  return new Trace(0, size, traceback(...frames));
}

/** A snapshot of traces. */
export function snapshot(...traces: Trace[]): Snapshot {
  return new Snapshot(traces, 10);
}
