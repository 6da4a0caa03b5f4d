/** What the runtimes on V8 share: calibration, source positions, and the author's lines. */
import type inspector from "node:inspector";
import { pathToFileURL } from "node:url";
import v8 from "node:v8";
import vm from "node:vm";
import { UnsupportedError } from "../model/errors.ts";
import { Level, Result, specLayout, Verdict } from "../tracer/abi.ts";
import type { Engine, OriginalPosition, Position, ScriptText, V8Shim } from "./backend.ts";
import { findSourceMap, mapPositions } from "./source_maps.ts";
import { sampleHeap } from "./v8_heap.ts";
import { inTurn, pause, workingTime } from "./waiting.ts";
import { closeSession, openSession } from "./v8_session.ts";

/** Takes this long at the most, in milliseconds, to see all tiers; what was not seen by then is not decoded. */
const calibrationLimit = 1500;

/** What differs between the runtimes on V8. */
export interface V8Runtime {
  /** Does optimised code call native functions directly, past the engine's usual way out? */
  readonly fastCalls: boolean;
  readonly originalPositions: Engine["originalPositions"];
  /** What to tell a user whose program may not use the inspector; why it is needed, to begin a sentence. */
  refused(why: string, cause: unknown): Error;
}

/** Where the texts are that a runtime has compiled. */
export interface CompiledTexts {
  /** Where the text that the engine compiled for a module may lie, with its source map. */
  compiledFiles(url: string): readonly string[];
  /** Does the engine compile what the module holds, as it stands? */
  isPlain(url: string): boolean;
  /** The text of a file; `undefined` where there is none, or it may not be read. */
  readText(path: string): string | undefined;
}

/** What was found the first time: the layout does not change while the process lives. */
let found: { readonly calibration: Calibration; readonly needsProfiler: boolean } | undefined;

/**
 * Finds V8's layout and begins to keep source positions.
 *
 * V8 does not keep source positions of functions unless asked to: by a flag at its start, which `tracemalloc run` gives,
 * or by its profiler. The profiler is started (at an interval that makes it never sample) only when calibration shows
 * that positions are missing.
 */
export function openV8(shim: V8Shim, runtime: V8Runtime): Engine {
  shim.v8Hide(new URL("../", import.meta.url).href);
  let session: inspector.Session | undefined;
  const keepPositions = () => void (session ??= startProfiler(runtime));
  if (found?.needsProfiler) keepPositions();
  if (!found) {
    const calibration = calibrate(shim, runtime, keepPositions);
    found = { calibration, needsProfiler: session !== undefined };
  }
  const { layout, refusal } = found.calibration;
  return {
    calibration: layout,
    refusal,
    originalPositions: runtime.originalPositions,
    defaultDomains: ["native"],
    traceBuffers() {
      throw new UnsupportedError(
        'the domain "array-buffer" is for what "native" cannot see: use "native", which has buffers here',
      );
    },
    sampleHeap: (interval, alone, warn) =>
      sampleHeap({
        shim,
        interval,
        alone,
        frames: refusal === undefined,
        refused: (cause) => runtime.refused("V8 samples no objects by itself", cause),
        warn,
      }),
    collectGarbage,
    nameRecorded() {},
    close() {
      if (!session) return;
      session.post("Profiler.stop");
      session.post("Profiler.disable");
      session = undefined;
      closeSession();
    },
  };
}

/** V8 shows its collector to contexts made after the flag is set. */
function collectGarbage(): void {
  collector ??= findCollector();
  collector();
}

function findCollector(): () => void {
  const look = () => vm.runInNewContext("globalThis.gc") as (() => void) | undefined;
  const given = look();
  if (given) return given;
  v8.setFlagsFromString("--expose-gc");
  try {
    return look()!;
  } finally {
    // The program's own contexts have none.
    v8.setFlagsFromString("--no-expose-gc");
  }
}

let collector: (() => void) | undefined;

function startProfiler(runtime: V8Runtime): inspector.Session {
  const session = openSession((cause) => runtime.refused("V8 keeps no source positions by itself", cause));
  session.post("Profiler.enable");
  session.post("Profiler.setSamplingInterval", { interval: 1e8 }); // microseconds
  session.post("Profiler.start");
  return session;
}

interface Calibration {
  readonly layout: Map<string, string>;
  readonly refusal: string | undefined;
}

/** What the probe is to look at: shim/v8_calibrate.c. */
const Step = {
  frames: 0,
  anchors: 1,
  reentry: 2,
  tiers: 3,
  report: 4,
  check: 5,
  checkCompiled: 6,
  /** Plus 16 times the position of the call that made the caller. */
  origin: 7,
} as const;

type Probe = (step: number) => number;
type Outermost = (step: number, zero: number, unused: number) => number;

/** The shim accepts what it could verify; the rest of V8 it leaves undecoded. */
function calibrate(shim: V8Shim, runtime: V8Runtime, keepPositions: () => void): Calibration {
  const scripts = calibrationScripts(1234, 567, "");
  // Threads of one process share the shim, and what one of them finds.
  const begun = inTurn(() => shim.v8Begin(scripts.spec), 10 * calibrationLimit);
  if (begun === Result.state) {
    const { layout } = parseReport(shim.v8Report());
    if (layout.get("positions") === "profiler") keepPositions();
    return { layout, refusal: undefined };
  }
  if (begun < 0) throw new Error(`the shim did not begin to calibrate (${begun})`);
  const probe = shim.v8Probe;
  const d = scripts.second(probe);
  const levels = () => probe(Step.report);
  let verdict: number = Verdict.accept;

  // A closure between A and D, for the frame of the closure is none of the four.
  const findFrames = () => scripts.first((step) => d(step))(Step.frames, 0, 0);
  findFrames();
  if (levels() === Result.positions) {
    keepPositions();
    verdict = Verdict.acceptProfiled;
    findFrames();
  }
  if (levels() > 0) {
    for (let depth = 0; depth < 12 && !(levels() & Level.anchors); depth++) {
      nest(depth, () => scripts.first(d)(Step.anchors, 0, 0));
    }
    const reenter = (from: Scripts, to: Probe) => from.first((step) => throughNative(() => to(step)));
    for (let i = 0; i < 3; i++) reenter(scripts, d)(Step.reentry, 0, 0);

    findOrigins(probe);

    const others = calibrationScripts(77, 31, "function Z(a) { return a; } ");
    const otherD = others.second(probe);
    shim.v8Check(others.spec);
    others.first(otherD)(Step.check, 0, 0);
    reenter(others, otherD)(Step.check, 0, 0);
    if (levels() > 0 && levels() & Level.reentry) {
      for (const hot of heatUp(others, probe, levels, tiersOf(shim, runtime))) hot(Step.checkCompiled, 0, 0);
    }
  }
  const positionsRefused = levels() === Result.positions;
  const accepted = shim.v8End(levels() > 0 ? verdict : Verdict.refuse) >= 0;
  const { layout, failure } = parseReport(shim.v8Report());
  return {
    layout,
    refusal: accepted
      ? undefined
      : positionsRefused && shim.v8Option("always-sparkplug") > 0
      ? "with --always-sparkplug it interprets nothing, from which all else is found"
      : positionsRefused
      ? "its profiler does not begin at once to keep source positions; " +
        "use `tracemalloc run`, or start the program with --v8-flags=--detailed-line-info"
      : failure ?? "the engine's record of its frames was not found",
  };
}

/** Calls at different depths, so that frames lie at different addresses. */
function nest(depth: number, call: () => void): void {
  if (depth === 0) call();
  else nest(depth - 1, call);
}

/** JSON.parse is native, and calls its reviver from there. */
function throughNative(call: () => number): number {
  let result = 0;
  JSON.parse("1", () => {
    result = call();
    return 1;
  });
  return result;
}

/** Code from text, each made at a place of its own. Of functions of one text the engine compiles the first. */
function findOrigins(probe: Probe): void {
  for (const name of ["probe", "another"]) {
    const calls = [`eval("${name}(step)")`, `new Function("${name}", "step", "return ${name}(step)")(${name}, step)`];
    for (const call of calls) {
      const text = `(function (${name}, step) { return ${call}; })`;
      const evaluator = vm.runInThisContext(text, { filename: "tracemalloc-calibrate-origin.js" });
      evaluator(probe, Step.origin + 16 * text.indexOf(call));
    }
  }
}

/** The levels that there can be with the options that the engine was started with. */
function tiersOf(shim: V8Shim, { fastCalls }: V8Runtime): number {
  const isOff = (name: string) => shim.v8Option(name) < 0;
  if (shim.v8Option("jitless") > 0) return 0;
  const baseline = isOff("sparkplug") ? 0 : Level.baseline;
  const maglev = isOff("maglev") ? 0 : Level.maglev;
  const turbofan = isOff("turbofan") ? 0 : Level.turbofan | (fastCalls ? Level.fastCall : 0);
  return baseline | maglev | turbofan | (maglev | turbofan ? Level.inlining : 0);
}

/**
 * Turns of a loop in each call of a function, which make it hot: the larger a function is, the more of it has to run before
 * the engine compiles it.
 */
const manyTurns = 200;

/** Rounds of a hundred calls that two copies have to get hot. */
const mostRounds = 500;

/**
 * Calls copies of the first script until all tiers were seen, or for so long. Closures of one place share what they learn,
 * so every copy begins in the interpreter again, and goes up through the tiers while the engine compiles beside it; a tier
 * that it was in too shortly to be seen, another copy may show. Two go up at a time, for what one shows is to be found
 * right in another. Returns what got hot.
 */
function heatUp(scripts: Scripts, probe: Probe, levels: () => number, wanted: number): Outermost[] {
  const hot: Outermost[] = [];
  let asked = false;
  const seen = () => {
    const missing = wanted & ~levels();
    if (missing !== Level.maglev || asked) return missing === 0;
    asked = true;
    if (!hasMaglev()) wanted &= ~Level.maglev;
    return (wanted & missing) === 0;
  };
  const time = workingTime();
  // On a machine that is slow today, rounds that are owed take longer.
  let rounds = 0;
  const goesOn = () => time() < (rounds < 2 * mostRounds ? 2 : 1) * calibrationLimit;
  for (let number = 1; !seen() && goesOn(); number += 2) {
    const copies = [scripts.copy(number), scripts.copy(number + 1)] as const;
    // Baseline code hangs on the function: the first closure makes it, a new one runs it.
    for (let closure = 0; closure < 8 && wanted & ~levels() & Level.baseline; closure++) {
      const fresh = copies[0](probe, 0);
      for (let i = 0; i < 60; i++) fresh(Step.tiers, 0, 0);
      hot[0] = fresh;
    }
    // Where loops are what keeps code from staying optimised, it is to go without.
    const turns = number % 4 === 1 ? manyTurns : 0, [one, other] = [copies[0](probe, turns), copies[1](probe, turns)];
    hot.push(one, other);
    for (let round = 0; round < mostRounds && !seen() && goesOn(); round++, rounds++) {
      for (let i = 0; i < 100; i++) one(Step.tiers, 0, 0);
      for (let i = 0; i < 100; i++) other(Step.tiers, 0, 0);
      // The engine's compilers have threads of their own, and may find no processor while this one is at work.
      if (round % 100 === 99) pause(1);
    }
  }
  return hot;
}

/** Is that tier in use? Not in all versions, and it can be turned off. */
function hasMaglev(): boolean {
  v8.setFlagsFromString("--allow-natives-syntax");
  try {
    return vm.runInThisContext("%IsMaglevEnabled()");
  } catch (error) {
    if (error instanceof SyntaxError) return true; // V8 does not say.
    throw error;
  } finally {
    v8.setFlagsFromString("--no-allow-natives-syntax");
  }
}

interface Scripts {
  readonly spec: Uint8Array<ArrayBuffer>;
  first(probe: Probe): Outermost;
  /** `turns`: how often the loops of B and C turn in each call. */
  copy(number: number): (probe: Probe, turns: number) => Outermost;
  second(probe: Probe): Probe;
}

/**
 * C calls B calls A calls the probe it is given; D of the second script calls the shim's. B and C carry code that never
 * runs, so that they are too large to be inlined; A is small. The offsets, of the first line, are to be odd enough to be found
 * again in the script's fields; `before` goes before A and D, and is nothing or has one function.
 */
function calibrationScripts(lineOffset: number, columnOffset: number, before: string): Scripts {
  const tag = Math.random().toString(36).slice(2, 8).padEnd(6, "x");
  const files = [`tracemalloc-calibrate-${tag}-1.js`, `tracemalloc-calibrate-${tag}-2.js`] as const;
  const sourceUrl = `tracemalloc-source-${tag}.js`;
  const ballast = `if (a === -2) { ${"a = a * 1000 + 100000000 | 0; ".repeat(60)}a = 1000; a = 100000000; }`;
  // Places where optimised code can be left, of which one is described by how it differs from another.
  const sums =
    `let sum = a + b; for (let i = 0; i < turns; i++) sum = sum + i | 0; sum = sum + a; sum = sum + b; sum = sum + a; b = b + sum * 0;`;
  const first = `(function (probe, turns) { ${before}function A(a) { return probe(a) | 0; }
function B(a, b) { ${ballast} ${sums} return 1 + A(a + b | 0) | 0; }
function C(a, b, c) { ${ballast} ${sums} return 3 + (1 + B(a, b) | 0) | 0; }
return C; })`;
  const second =
    `(function (probe) { ${before}return function D(a) { return probe(a) | 0; }; })\n//# sourceURL=${sourceUrl}`;
  const calls = [
    first.indexOf("probe(a)"),
    first.indexOf("A(a + b"),
    first.indexOf("B(a, b) |"),
    second.indexOf("probe(a)"),
  ];
  const lines = calls.map((at, i) => (i < 3 ? first : second).slice(0, at).split("\n"));
  // Functions are numbered as they stand in the script, which is 0 itself; its outer function is 1.
  const number = before === "" ? 2 : 3;
  const options = (filename: string) => ({ filename, lineOffset, columnOffset });

  const spec = new Uint8Array(specLayout.bytes);
  const text = new TextEncoder();
  text.encodeInto(files[0], spec.subarray(specLayout.files[0], specLayout.files[0] + 63));
  text.encodeInto(files[1], spec.subarray(specLayout.files[1], specLayout.files[1] + 63));
  text.encodeInto(sourceUrl, spec.subarray(specLayout.sourceUrl, specLayout.sourceUrl + 63));
  text.encodeInto(first.slice(0, 30), spec.subarray(specLayout.sourceHead, specLayout.sourceHead + 31));
  new Int32Array(spec.buffer, specLayout.numbers).set([
    ...[first.length, lineOffset, columnOffset],
    ...calls,
    ...[number, number + 1, number + 2, number],
    ...lines.map(({ length }) => lineOffset + length),
    ...lines.map((before) => before.at(-1)!.length + 1 + (before.length === 1 ? columnOffset : 0)),
  ]);

  return {
    spec,
    first: vm.runInThisContext(first, options(files[0])),
    copy: (number) => vm.runInThisContext(`${first}//${number}`, options(files[0])),
    second: vm.runInThisContext(second, options(files[1])),
  };
}

function parseReport(report: string): { layout: Map<string, string>; failure: string | undefined } {
  const layout = new Map<string, string>();
  let failure: string | undefined;
  for (const line of report.split("\n")) {
    const [, name, value] = /^(\S+) (.*)$/.exec(line) ?? [];
    if (name === undefined || value === undefined) continue;
    if (name === "failed") failure ??= value;
    else layout.set(name, value);
  }
  return { layout, failure };
}

/**
 * The author's positions for those in a compiled text, as the engine's own stack traces give them: for each file a script
 * of that name that makes errors at just those positions, and nothing else. The runtime applies its source maps to them
 * as to any error; permissions are not needed. In a context of its own, where the program has changed nothing.
 */
export function originalPositions(
  url: string,
  positions: readonly Position[],
): (OriginalPosition | undefined)[] {
  const result: (Place | undefined)[] = new Array(positions.length);
  const order = positions.map((_, i) => i).sort((a, b) => {
    const p = positions[a]!, q = positions[b]!;
    return p.line - q.line || p.column - q.column;
  });
  context ??= vm.createContext(Object.create(null));
  // Errors take room: what does not fit behind the one before waits for the next script.
  for (let waiting = order; waiting.length > 0;) {
    const [now, later] = packErrors(positions, waiting);
    waiting = later;
    const stacks: unknown = vm.runInContext(scriptOfErrors(positions, now), context, {
      filename: url,
      lineOffset: positions[now[0]!]!.line - 2,
    });
    now.forEach((index, i) => {
      const place = parseStack(String((stacks as string[])[i]), url);
      // In its stack traces Deno leaves out the middle of long data: URLs.
      result[index] = place?.url.startsWith("data:") && url.startsWith("data:") ? { ...place, url } : place;
    });
  }
  forgetUnmapped(url, positions, result);
  return result;
}

let context: vm.Context | undefined;

/**
 * The author's positions in a script of another thread, whose source maps are that thread's own: from the map that goes
 * with just that text. Where there is none, the lines of code that was compiled are not known.
 */
export function foreignPositions(
  url: string,
  positions: readonly Position[],
  text: ScriptText,
  runtime: CompiledTexts,
): (OriginalPosition | undefined)[] {
  const map = findSourceMap(text, url, runtime.compiledFiles(url), runtime.readText);
  if (map) return mapPositions(map, url, positions);
  const asItStands = map === null || runtime.isPlain(url);
  return positions.map(() => asItStands ? undefined : { url, line: 0 });
}

/**
 * What a compiler adds of its own (helpers for decorators) is in no source map, and the runtime gives its place in the
 * compiled text, which says nothing to the author: the line becomes 0.
 */
function forgetUnmapped(url: string, positions: readonly Position[], result: (Place | undefined)[]): void {
  const unmoved = positions.map((_, i) => i).filter((i) => isAt(result[i], positions[i]!));
  if (unmoved.length === 0 || (unmoved.length === positions.length && !compiledFile.test(url))) return;
  const unmapped = new Set(unmoved.map((i) => positions[i]!.line).filter((line) => !isMapped(url, line)));
  if (unmapped.size === 0 || (unmoved.length === positions.length && !hasMap(url, Math.max(...unmapped)))) return;
  for (const i of unmoved) if (unmapped.has(positions[i]!.line)) result[i] = { ...result[i]!, line: 0 };
}

/** Names of files that runtimes compile before they run them. */
const compiledFile = /\.(?:[cm]?ts|[jt]sx)(?:[?#]|$)/;

/** Is anything of a compiled line in the source map? Far behind its end, what counts is the last place on it that is. */
function isMapped(url: string, line: number): boolean {
  const far = { line, column: 1_000_000 };
  const stack = vm.runInContext("new Error().stack", context!, {
    filename: url,
    lineOffset: line - 1,
    columnOffset: far.column - 1,
  });
  return !isAt(parseStack(String(stack), url), far);
}

/** Is there a source map at all? Looks at some of the lines up to one. */
function hasMap(url: string, last: number): boolean {
  const step = Math.ceil(last / 20);
  for (let line = 1; line <= last; line += step) if (isMapped(url, line)) return true;
  return false;
}

function isAt(place: Place | undefined, { line, column }: Position): boolean {
  return place !== undefined && place.line === line && place.column === column;
}

/** Its position is that of its `n`. */
const errorText = "new Error().stack,";

function packErrors(positions: readonly Position[], order: readonly number[]): [now: number[], later: number[]] {
  const now: number[] = [], later: number[] = [];
  let line = 0, end = 0;
  for (const index of order) {
    const position = positions[index]!;
    if (position.line !== line) end = 0;
    if (position.column - 1 < end) later.push(index);
    else {
      now.push(index);
      line = position.line;
      end = position.column - 1 + errorText.length;
    }
  }
  return [now, later];
}

/** An array of the errors' stacks; the literal begins on a line of its own before that of the first. */
function scriptOfErrors(positions: readonly Position[], order: readonly number[]): string {
  let text = "[\n", line = positions[order[0]!]!.line, column = 1;
  for (const index of order) {
    const position = positions[index]!;
    if (position.line > line) {
      text += "\n".repeat(position.line - line);
      line = position.line;
      column = 1;
    }
    text += " ".repeat(position.column - column) + errorText;
    column = position.column + errorText.length;
  }
  return text + "]";
}

interface Place extends OriginalPosition {
  readonly column: number;
}

/**
 * The place of the first frame, of a script with that URL or mapped from there: `    at URL:LINE:COLUMN`, for code at the
 * top of a script has no name. Names of files can have lines.
 */
function parseStack(stack: string, scriptUrl: string): Place | undefined {
  const [, url, line, column] = /^[^\n]*\n\s+at ([\s\S]+?):(\d+):(\d+)(?=\n|$)/.exec(stack) ?? [];
  if (url === undefined) return undefined;
  return { url: urlOfShown(url, scriptUrl), line: Number(line), column: Number(column) };
}

/**
 * Deno shows URLs of files decoded: what `#`, `?` and `%` in them were is known of the script's own. Its queries can be those
 * of another process, for which the same text was compiled.
 */
function urlOfShown(shown: string, scriptUrl: string): string {
  if (shown === scriptUrl || !shown.startsWith("file:///")) return shown;
  const [file = ""] = scriptUrl.split(/[?#]/), path = decoded(file);
  if (shown === path || (file !== scriptUrl && shown.startsWith(path) && /[?#]/.test(shown[path.length]!))) {
    return scriptUrl;
  }
  return /[#?\n]/.test(shown) ? pathToFileURL(shown.slice("file://".length)).href : shown;
}

function decoded(url: string): string {
  try {
    return decodeURIComponent(url);
  } catch {
    return url;
  }
}
