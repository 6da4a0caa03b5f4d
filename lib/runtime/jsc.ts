/** What JavaScriptCore needs: calibration, and the naming of what was recorded. */
import { CalibrationStep, Result } from "../tracer/abi.ts";
import type { Engine } from "./backend.ts";
import { type HeapTools, heapTypes } from "./jsc_heap.ts";
import { inTurn, workingTime } from "./waiting.ts";

/** The shim as a Node-API module of this thread (shim/tracemalloc.h). */
export interface JscModule {
  calibrate(step: number, ...six: unknown[]): number;
  attach(...pins: (() => void)[]): number;
  detach(): void;
  resolve(callee: () => void): number;
}

/** What the engine's own module offers for tests of it, and calibration needs. */
export interface JscTools extends HeapTools {
  edenGC(): void;
  noInline(f: unknown): void;
}

/** The shim's functions for the search. */
export interface JscShim {
  jscHide(pathPrefix: string): void;
  jscBegin(): number;
  jscEnd(): number;
  jscReport(): string;
  mute(on: boolean): void;
  withoutNative(): number;
}

/**
 * Sites are named so often, in milliseconds, and whenever a snapshot is taken: soon after there were new ones, and seldom
 * where there are none.
 */
const namingInterval = { shortest: 1, longest: 64 };

/** Works this long at the most, in milliseconds, to see all tiers. */
const calibrationLimit = 1500;

/** A traced program may change what is global. */
const { setTimeout, clearTimeout, Reflect } = globalThis;
const { deleteProperty, getOwnPropertyDescriptor, set } = Reflect;
const Error: { prepareStackTrace?: unknown; stackTraceLimit?: number } = globalThis.Error;

/** What was found the first time: the layout does not change while the process lives. */
let found: { readonly layout: Map<string, string>; readonly refusal: string | undefined } | undefined;

/** Finds JavaScriptCore's layout, and begins to name what is recorded on this thread. */
export function openJsc(
  shim: JscShim,
  module: JscModule,
  tools: JscTools,
): Omit<Engine, "defaultDomains" | "traceBuffers"> {
  shim.jscHide(new URL("../", import.meta.url).pathname);
  found ??= calibrate(shim, module, tools);
  let refusal = found.refusal;
  // Always: what the thread owns is forgotten with it.
  const attached = module.attach(named, pinned);
  if (refusal === undefined && !attached) refusal = "the virtual machine of this thread was not found";
  const name = () => nameSites(shim, module);
  let timer: ReturnType<typeof setTimeout> | undefined, interval = namingInterval.shortest;
  const schedule = () => {
    timer = setTimeout(() => {
      interval = name() > 0 ? namingInterval.shortest : Math.min(2 * interval, namingInterval.longest);
      schedule();
    }, interval);
    (timer as { unref?(): void }).unref?.();
  };
  if (refusal === undefined) schedule();
  return {
    calibration: found.layout,
    refusal,
    originalPositions: (_url, positions) => positions.map(() => undefined),
    sampleHeap(_interval, alone) {
      if (alone) shim.withoutNative();
      return {
        interval: 1,
        state: () => "on",
        unsampledThreads: () => 0,
        recordOf: () => undefined,
        noLines: undefined,
        profile: () => undefined,
        types: () => heapTypes(tools),
        clear() {},
        close() {},
      };
    },
    collectGarbage: () => tools.fullGC(),
    nameRecorded() {
      if (refusal === undefined) name();
    },
    close() {
      clearTimeout(timer);
      module.detach();
    },
  };
}

/** Stands in for the functions whose frames are named: only their places are of interest. */
function named(): void {}

/** Another that stays: the shim tries with the two what keeps code until it is named. */
function pinned(): void {}

/** By reflection: the engine does not notice an assignment to it that has got hot, in some versions. */
function setLimit(lines: unknown): void {
  set(Error, "stackTraceLimit", lines);
}

/** The engine is asked for stacks; what the program has set for its own is as it was afterwards. */
function nameSites(shim: JscShim, module: JscModule): number {
  const prepare = getOwnPropertyDescriptor(Error, "prepareStackTrace");
  const limit = getOwnPropertyDescriptor(Error, "stackTraceLimit");
  if ((prepare && !prepare.writable) || (limit && !limit.writable)) return 0;
  shim.mute(true);
  try {
    if (prepare?.value !== undefined) Error.prepareStackTrace = undefined;
    setLimit(1000);
    return module.resolve(named);
  } finally {
    if (limit) setLimit(limit.value);
    else deleteProperty(Error, "stackTraceLimit");
    if (prepare?.value !== undefined) Error.prepareStackTrace = prepare.value;
    shim.mute(false);
  }
}

type Probe = JscModule["calibrate"];

const sloppyText = (text: string) => `/*tracemalloc*/(function () { ${text} })()`;

/** Functions outside strict mode, whose calls are never in place of their own frames. */
function sloppy<T>(text: string): T {
  return (0, eval)(sloppyText(text)) as T;
}

/** Threads of one process share the shim, and what one of them finds. */
function calibrate(shim: JscShim, { calibrate: probe }: JscModule, tools: JscTools) {
  const begun = inTurn(() => shim.jscBegin(), 10 * calibrationLimit);
  if (begun === Result.ok) {
    try {
      probeAll(probe, tools);
    } finally {
      shim.jscEnd();
    }
  }
  const layout = new Map<string, string>();
  let refusal = begun === Result.busy ? "another thread has been looking for it for too long" : undefined;
  for (const line of shim.jscReport().split("\n")) {
    const [name = "", ...value] = line.split(" ");
    if (name === "failed") refusal = value.join(" ");
    else if (name !== "") layout.set(name, value.join(" "));
  }
  return { layout, refusal };
}

function probeAll(probe: Probe, tools: JscTools): void {
  const at = CalibrationStep;
  for (const step of [at.frames, at.framesAgain, at.framesAgain]) callers()(probe, step);
  for (let depth = 0; depth < 3; depth++) enter(depth)(probe, at.enter, at.entered);
  probe(at.count, 0, 0, 0, 0, 0, 0);
  const { edenGC, fullGC } = tools;
  // So many that no other word can be thought to count them, where the engine is told to collect all the time.
  for (const collect of [edenGC, edenGC, fullGC, edenGC, edenGC, edenGC, edenGC, edenGC]) {
    collect();
    probe(at.collected, 0, 0, 0, 0, 0, 0);
    probe(at.notCollected, 0, 0, 0, 0, 0, 0);
  }
  probe(at.counted, 0, 0, 0, 0, 0, 0);
  // Not at the end: the engine would collect again soon, and with it code of the program's that nobody has named yet.
  edenGC();
  // Their code is looked at until the end, and must be there.
  const kept = [1, 7, 20, 40, 61].map(cold);
  for (const call of kept) call(probe, at.cold);
  probe(at.code, 0, 0, 0, 0, 0, 0);
  probe(at.code, 1, 0, 0, 0, 0, 0);
  heatUp(probe, tools);
  probe(at.end, kept.length, 0, 0, 0, 0, 0);
}

/** A function that calls another with three arguments, which calls the probe with seven. */
function callers(): (probe: Probe, step: number) => number {
  return sloppy(`
    function inner(probe, step, outer) { let r = 0; r += probe(step, inner, outer, 3, 4, 5, 6); return r; }
    return function outer(probe, step) { let r = 0; r += inner(probe, step, outer); return r; };`);
}

/** Native code enters JavaScript again; at different depths, so that frames lie at different addresses. */
function enter(depth: number): (probe: Probe, enter: number, entered: number) => number {
  return sloppy(`
    return function nest(probe, enter, entered, depth = ${depth}) {
      if (depth > 0) { let r = nest(probe, enter, entered, depth - 1); return r + 0; }
      let r = probe(enter, function again() { let r = 0; r += probe(entered, 1, 2, 3, 4, 5, 6); return r; }, 2, 3, 4, 5, 6);
      return r + 0;
    };`);
}

/** A function of some length that calls the probe at its end, with the length of its text. */
function cold(length: number): (probe: Probe, step: number) => number {
  const text = (total: number) => `
    return function cold(probe, step) { // ${"-".repeat(1000)}
      let a = step; ${"a = a * 3 + step; ".repeat(length)}
      a += probe(step, ${total}, 2, 3, 4, 5, 6);
      return a;
    };`;
  // Long enough for it to have as many digits as 1000.
  return sloppy(text(sloppyText(text(1000)).length));
}

/** Functions that are called until both optimising compilers were seen, or for so long. */
function heatUp(probe: Probe, tools: JscTools): void {
  const spent = workingTime();
  // Some more rounds when all was seen: what was found must be found again.
  let more = 5;
  for (let number = 0, seen = 0; number < 4 && more > 0 && spent() < calibrationLimit; number++) {
    const call = (site: number) => `a = a * 3 + i | 0; a += probe(step, number, ${site}, 3, 4, 5, 6) & 1;`;
    const hot = sloppy<(probe: Probe, step: number, number: number, repeat: number) => number>(`
      return function hot(probe, step, number, repeat) {
        let a = 0;
        for (let i = 0; i < repeat; i++) a = a * 3 + i | 0;
        { let i = a; ${Array.from({ length: 8 }, (_, site) => call(site)).join("\n")} }
        return a;
      };`);
    tools.noInline(hot);
    for (let round = 0; more > 0 && spent() < calibrationLimit && round < 4000; round++) {
      hot(probe, CalibrationStep.hot, number, 1);
      for (let i = 0; i < 20; i++) hot(probe, CalibrationStep.idle, number, 500);
      const now = probe(CalibrationStep.hot, 99, 99, 3, 4, 5, 6);
      if (now > 3) return;
      seen = now;
      if (seen === 3) more--;
    }
  }
}
