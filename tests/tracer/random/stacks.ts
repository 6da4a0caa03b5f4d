/** Runs programs of generate.ts traced, and compares every traceback with the engine's own stack trace, whole. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { originalPositionFor, TraceMap } from "@jridgewell/trace-mapping";
import { assert, assertEquals } from "@std/assert";
import { fileURLToPath, pathToFileURL } from "node:url";
import { FrameKind, Tier, unknownReasons } from "../../../lib/tracer/abi.ts";
import type { Image } from "../../../lib/tracer/image.ts";
import { filenameOf, type NamedFrame } from "../../../lib/tracer/naming.ts";
import { readTransfer } from "../../../lib/tracer/traced_image.ts";
import { Random } from "../../conformance/random.ts";
import { deno as executable } from "../deno.ts";
import { deno, inFolder } from "../programs.ts";
import { generateProgram } from "./generate.ts";

/** What comparing showed. */
export interface Totals {
  /** Allocations whose stacks were compared, the different stacks among them, and their frames. */
  allocations: number;
  stacks: number;
  frames: number;
  /** Frames that name what is not there. */
  wrong: number;
  /** Frames of the engine's that the tracer does not name, by the reason it gives. */
  readonly unknown: Record<string, number>;
  /** Frames by the tiers they were seen in. */
  readonly tiers: Record<string, number>;
  /** Some of what is wrong. */
  readonly examples: string[];
}

/** The most that may be unknown. */
const mostUnknown = 0.001;

/** Runs the programs of some seeds, and finds no frame wrong and nearly none unknown. */
export function assertExact(seeds: readonly number[], sites: number, heat: number): Totals {
  const totals: Totals = { allocations: 0, stacks: 0, frames: 0, wrong: 0, unknown: {}, tiers: {}, examples: [] };
  for (const seed of seeds) compareProgram(seed, sites, heat, totals);
  const unknown = Object.values(totals.unknown).reduce((sum, frames) => sum + frames, 0);
  assertEquals(totals.wrong, 0, totals.examples.join("\n"));
  assert(unknown <= totals.frames * mostUnknown, JSON.stringify(totals));
  return totals;
}

/** How a program is run; chosen by its seed. */
interface Way {
  readonly flags: readonly string[];
  readonly startLate: boolean;
}

const positions = "--detailed-line-info";

function chooseWay(random: Random): Way {
  const stress = random.once(3)
    ? random.pick([
      "--stress-compaction",
      "--gc-interval=500",
      "--stress-scavenge=80",
      "--always-osr",
      "--no-maglev",
      "--stress-flush-code",
      "--max-lazy",
    ])
    : undefined;
  const flags = [...(random.once(2) ? [positions] : []), ...(stress === undefined ? [] : [stress])];
  return { flags: flags.length > 0 ? [`--v8-flags=${flags.join()}`] : [], startLate: random.once(2) };
}

/** The most frames that are compared of a stack; some are longer. */
const nframe = 100;

/**
 * Runs the program of a seed, and adds what comparing shows: about so many allocations, and so many milliseconds between
 * them for the engine to compile.
 */
export function compareProgram(seed: number, sites: number, heat: number, totals: Totals): void {
  const program = generateProgram(seed), way = chooseWay(new Random(seed ^ 0x5eed));
  const what = `seed ${seed} ${JSON.stringify(way)}`;
  inFolder((folder) => {
    for (const [name, text] of program.files) writeFileSync(join(folder, name), text);
    const truth = join(folder, "truth"), transfer = join(folder, "transfer");
    const urlOf = (name: string) => pathToFileURL(join(folder, name)).href;
    const settings = {
      nframe,
      truth,
      transfer,
      sites,
      heat,
      startLate: way.startLate,
      main: urlOf(program.main),
      worker: program.worker === undefined ? undefined : urlOf(program.worker),
    };
    const args = [...way.flags, harness, JSON.stringify(settings)];
    const { code, signal, stdout, stderr } = deno(["--no-check", ...args]);
    // Else the tracer says why it goes without.
    if (code !== 0 || stderr !== "") throw new Error(`${what}: ${code ?? signal}\n${stdout}${stderr}`);
    compare(what, truth, transfer, totals);
  });
}

const harness = fileURLToPath(new URL("harness.mjs", import.meta.url));

type Site = readonly [url: string, line: number, column: number];

interface Truth {
  readonly size: number;
  readonly frames: readonly Site[];
}

/** One frame as the tracer has it. */
interface Traced {
  readonly place: string;
  readonly unknown: string | undefined;
  readonly tiers: number;
}

/** What the engine runs is not the file itself. */
const isCompiled = (filename: string) => /\.tsx?$/.test(filename);

/** The source maps of compiled files, where the runtime keeps them. */
class CompiledFiles {
  readonly #folder: string;
  readonly #maps = new Map<string, TraceMap>();

  constructor() {
    const { stdout } = spawnSync(executable, ["info", "--json"], { encoding: "utf8" });
    this.#folder = `${JSON.parse(stdout).denoDir}/gen/file`;
  }

  /** `line:column` in the author's file, both from 1. */
  original(filename: string, line: number, column: number): string {
    let map = this.#maps.get(filename);
    if (!map) {
      const text = readFileSync(`${this.#folder}${filename}.js`, "utf8");
      const [, encoded] = /^\/\/# sourceMappingURL=data:application\/json;base64,(\S+)$/m.exec(text)!;
      this.#maps.set(filename, map = new TraceMap(atob(encoded!)));
    }
    const original = originalPositionFor(map, { line, column: column - 1 });
    return `${original.line}:${(original.column ?? -1) + 1}`;
  }
}

let compiledFiles: CompiledFiles | undefined;

function originalOf(filename: string, line: number, column: number): string {
  return (compiledFiles ??= new CompiledFiles()).original(filename, line, column);
}

/** `<eval at URL:LINE:COLUMN>`, perhaps of another such, as the tracer names it. */
function evaluatedAt(url: string): string {
  const [, from, line, column] = /^<eval at (.*):(\d+):(\d+)>$/.exec(url)!;
  if (from!.startsWith("<")) return `<eval at ${evaluatedAt(from!)}:${line}>`;
  const filename = filenameOf(from!);
  // The engine says where in the text that it compiled.
  const author = isCompiled(filename) ? originalOf(filename, Number(line), Number(column)).split(":")[0] : line;
  return `<eval at ${filename}:${author}>`;
}

function compare(what: string, truthPath: string, transferPath: string, totals: Totals): void {
  const truth: Truth[] = JSON.parse(readFileSync(truthPath, "utf8"));
  const { image, names } = readTransfer(new Uint8Array(readFileSync(transferPath)));
  const nodes = new Map<number, number[]>();
  image.rowSize.forEach((size, row) => {
    if (size % 2 === 1) nodes.set(size, [...nodes.get(size) ?? [], image.rowNode[row]!]);
  });
  const distinct = new Set<string>();
  const note = (example: string) => {
    if (totals.examples.length < 10) totals.examples.push(example);
  };
  for (const { size, frames } of truth) {
    const expected = frames.map(([url, line, column], i) => {
      const filename = url.startsWith("<eval at ") ? evaluatedAt(url) : filenameOf(url);
      // The column of the most recent frame was counted back from behind it, in the compiled text.
      const place = `${filename}:${line}:${i === 0 && isCompiled(filename) ? "*" : column}`;
      return { place, filename };
    });
    const candidates = (nodes.get(size) ?? []).map((node) => tracedFrames(image, names!, node));
    const wrongs = candidates.map((traced) => compareStack(expected, traced));
    // Another block can be as large by chance: one of them is the one.
    const best = wrongs.sort((a, b) => a.wrong.length - b.wrong.length)[0];
    totals.allocations++;
    totals.frames += expected.length;
    distinct.add(expected.map(({ place }) => place).join());
    if (best === undefined) {
      totals.wrong += expected.length;
      note(`${what}: the block of ${size} bytes is not there`);
      continue;
    }
    totals.wrong += best.wrong.length;
    for (const wrong of best.wrong) note(`${what}: ${size}: ${wrong}`);
    for (const reason of best.unknown) totals.unknown[reason] = (totals.unknown[reason] ?? 0) + 1;
    for (const [tier, bit] of Object.entries(Tier)) {
      const seen = best.tiers.filter((tiers) => tiers & bit).length;
      totals.tiers[tier] = (totals.tiers[tier] ?? 0) + seen;
    }
  }
  totals.stacks += distinct.size;
}

/** The program's frames, the most recent first. */
function tracedFrames(image: Image, names: readonly NamedFrame[], node: number): Traced[] {
  const frames: Traced[] = [];
  for (; node !== 0; node = image.nodeParent[node]!) {
    const frame = image.nodeFrame[node]!;
    const { filename, lineno } = names[frame]!;
    if (filename === harness || /^(?:ext|node|wasm):/.test(filename)) continue;
    const place = `${filename}:${placeIn(image, frame, filename, lineno, frames.length === 0)}`;
    const unknown = image.frameKind[frame] === FrameKind.unknown
      ? unknownReasons[image.frameOwner[frame]!]!
      : lineno === 0
      ? `no line in ${isCompiled(filename) ? "a compiled file" : "a file"}`
      : undefined;
    frames.push({ place, unknown, tiers: image.frameTiers[frame]! });
  }
  return frames;
}

/** The line that the tracer gives, and the column that it has. */
function placeIn(image: Image, frame: number, filename: string, lineno: number, first: boolean): string {
  const line = image.frameLine[frame]!, column = image.frameColumn[frame]!;
  if (!isCompiled(filename) || lineno === 0) return `${lineno}:${column}`;
  const original = originalOf(filename, line, column);
  if (original.split(":")[0] !== String(lineno)) return `${lineno}, but ${original} by the source map`;
  return first ? `${lineno}:*` : original;
}

interface Comparison {
  readonly wrong: string[];
  readonly unknown: string[];
  readonly tiers: number[];
}

/** Is all known but where the code comes from? */
function isWithoutOrigin(found: string, expected: string): boolean {
  return found.startsWith("<eval>:") && expected.startsWith("<eval at ") && expected.endsWith(`>${found.slice(6)}`);
}

/** An unknown frame stands for one or more, for functions are inlined into others; or for the harness's, which are left out. */
function compareStack(expected: readonly { place: string; filename: string }[], traced: readonly Traced[]): Comparison {
  const wrong: string[] = [], unknown: string[] = [], tiers: number[] = [];
  let i = 0, j = 0;
  for (; i < expected.length && j < traced.length; i++, j++) {
    const found = traced[j]!;
    if (found.unknown === undefined) {
      if (isWithoutOrigin(found.place, expected[i]!.place)) unknown.push("the origin of eval");
      else if (found.place !== expected[i]!.place) {
        wrong.push(`frame ${i} of ${expected.length}: ${expected[i]!.place} is ${found.place}`);
      } else tiers.push(found.tiers);
      continue;
    }
    // On with the next that is known.
    const next = traced.findIndex((frame, k) => k > j && frame.unknown === undefined);
    const skipped = next < 0
      ? expected.length - i
      : expected.findIndex((frame, k) => k >= i && frame.place === traced[next]!.place) - i;
    if (skipped < 0) {
      wrong.push(`frame ${i}: ${found.unknown}, and behind it ${traced[next]!.place} is not there`);
      return { wrong, unknown, tiers };
    }
    for (let k = 0; k < Math.max(1, skipped); k++) unknown.push(found.unknown);
    if (next < 0) return { wrong, unknown, tiers };
    i += skipped - 1;
    j = next - 1;
  }
  if (traced.length < nframe && i < expected.length) {
    wrong.push(`${expected.length - i} frames are missing from ${expected[i]!.place}`);
  }
  if (j < traced.length && traced[j]!.unknown === undefined) {
    wrong.push(`${traced.length - j} frames too many from ${traced[j]!.place}`);
  }
  return { wrong, unknown, tiers };
}
