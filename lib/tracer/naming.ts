/** From raw frames to file names and lines: done once a frame, when a snapshot is taken. */
import { fileURLToPath } from "node:url";
import type { AttributionCount, SnapshotColumns } from "../model/columns.ts";
import { Domain } from "../model/domain.ts";
import { Dictionary } from "../model/dictionary.ts";
import { PairTable } from "../model/pair_table.ts";
import type { Engine, HeapType, OriginalPosition, Position, ScriptText } from "../runtime/backend.ts";
import { counterNames, FrameKind, ScriptFlag, Tier, unknownReasons } from "./abi.ts";
import type { Image } from "./image.ts";

/** The frame of what could not be named. */
const unknownFilename = "<unknown>";

/** What the shim calls code that has no URL. */
const evaluated = "<eval>";

/** Can code have one? Not that of the runtime itself, nor that without a URL. */
function hasSourceMap(url: string): boolean {
  return url !== evaluated && !/^(?:ext|node|internal|checkin):/.test(url);
}

/** Is it a script that the tracer calibrates with? */
export function isCalibration(url: string): boolean {
  return /^tracemalloc-(?:calibrate|source)-/.test(url);
}

/** A frame with its name. */
export interface NamedFrame {
  readonly filename: string;
  /** From 1; 0: not known. */
  readonly lineno: number;
}

/** Alike objects of the engine's heap, and the functions that made them, the most recent last. */
export interface NamedRow {
  readonly frames: readonly NamedFrame[];
  /** Of all frames, also those left out at the limit; 0: not known. */
  readonly total: number;
  readonly size: number;
  readonly count: number;
}

/** How blocks are told apart in the attribution that `info` shows; in its order. */
const reasons = {
  javascript: "JavaScript line",
  inside: "JavaScript of the runtime itself or of the tracer, none of the program's below",
  position: "JavaScript file, but not the line",
  function: "JavaScript function, but not the line",
  type: "type of object, but not the line",
  native: "native code, no JavaScript on the stack",
  thread: "thread without JavaScript",
  memory: "pages of the garbage-collected heap",
} as const;

/** Names frames, and keeps the names: an image's frames are those of the image before and new ones behind them. */
export class Namer {
  readonly #originalPositions: Engine["originalPositions"];
  readonly #names: NamedFrame[] = [];

  constructor(originalPositions: Engine["originalPositions"]) {
    this.#originalPositions = originalPositions;
  }

  /** The names of all frames of an image, by their index. */
  name(image: Image): readonly NamedFrame[] {
    /** Frames whose positions the runtime may know better, by script. */
    const mapped = new Map<number, number[]>();
    const first = this.#names.length;
    for (let i = first; i < image.frameKind.length; i++) {
      this.#names.push(nameOf(image, i));
      const script = image.frameOwner[i]!;
      if (
        image.frameKind[i] === FrameKind.script && image.frameLine[i] !== 0 &&
        hasSourceMap(image.strings[image.scriptUrl[script]!]!)
      ) {
        const frames = mapped.get(script);
        if (frames) frames.push(i);
        else mapped.set(script, [i]);
      }
    }
    const own = mapped.size > 0 ? ownTexts(image) : undefined;
    for (const [script, frames] of mapped) this.#mapToOriginal(image, script, frames, own!);
    for (let i = first; i < this.#names.length; i++) this.#nameEvaluated(image, i);
    return this.#names;
  }

  /** Code from eval is named by the line that called it, whose frame is an older one. */
  #nameEvaluated(image: Image, frame: number): void {
    const { filename, lineno } = this.#names[frame]!;
    if (filename !== evaluated || image.frameKind[frame] !== FrameKind.script) return;
    const origin = image.scriptOrigin[image.frameOwner[frame]!]!;
    const caller = origin === 0 ? undefined : this.#names[origin - 1];
    if (caller && caller.lineno !== 0) {
      this.#names[frame] = { filename: `<eval at ${caller.filename}:${caller.lineno}>`, lineno };
    }
  }

  #mapToOriginal(image: Image, script: number, frames: readonly number[], own: ReadonlySet<string>): void {
    const url = image.strings[image.scriptUrl[script]!]!;
    const text = textOf(image, script), foreign = own.has(textKey(image, script)) ? undefined : text;
    const positions = frames.map((i): Position => ({ line: image.frameLine[i]!, column: image.frameColumn[i]! }));
    const originals: readonly (OriginalPosition | undefined)[] = this.#originalPositions(url, positions, foreign, text);
    frames.forEach((frame, i) => {
      const original = originals[i];
      if (original) this.#names[frame] = { filename: filenameOf(original.url), lineno: original.line };
    });
  }
}

function textOf({ scriptLength, scriptHash }: Image, script: number): ScriptText {
  return { length: scriptLength[script]!, hash: scriptHash[script]! };
}

/** The texts of the scripts of the thread that took the image; it has the source maps of these. */
function ownTexts(image: Image): ReadonlySet<string> {
  const own = new Set<string>();
  image.scriptFlags.forEach((flags, script) => {
    if (!(flags & ScriptFlag.foreign)) own.add(textKey(image, script));
  });
  return own;
}

function textKey(image: Image, script: number): string {
  const { length, hash } = textOf(image, script);
  // A text that could not be read is like no other.
  return hash === 0 ? `script ${script}` : `${image.scriptUrl[script]} ${length} ${hash}`;
}

function nameOf(image: Image, frame: number): NamedFrame {
  const owner = image.frameOwner[frame]!;
  switch (image.frameKind[frame]) {
    case FrameKind.script:
      return { filename: filenameOf(image.strings[image.scriptUrl[owner]!]!), lineno: image.frameLine[frame]! };
    case FrameKind.native:
    case FrameKind.memory:
      return { filename: image.strings[owner]!, lineno: 0 };
    case FrameKind.thread:
      return { filename: `<native ${image.strings[owner]!}>`, lineno: 0 };
    default:
      return { filename: unknownFilename, lineno: 0 };
  }
}

/** Files by their path, all else by its URL. */
export function filenameOf(url: string): string {
  if (!url.startsWith("file:///") || !URL.canParse(url)) return url;
  const { pathname } = new URL(url);
  // What is no path keeps its URL: fileURLToPath() throws for an encoded slash.
  return /%2f/i.test(pathname) ? url : fileURLToPath(url);
}

/** An image's rows with their frames named. */
export interface NamedImage {
  readonly columns: SnapshotColumns;
  readonly attribution: readonly AttributionCount[];
}

/** The columns of a snapshot, from an image and the names of its frames. */
export function nameImage(
  image: Image,
  names: readonly NamedFrame[],
  functions: readonly NamedRow[] = [],
  types: readonly HeapType[] = [],
): NamedImage {
  const dictionary = new Dictionary();
  const tracebacks = new PairTable();
  const frameNumbers = Uint32Array.from(
    names,
    ({ filename, lineno }) => dictionary.frame(dictionary.filename(filename), lineno),
  );
  const nodes = image.nodeParent.length;
  const nodeNumbers = new Uint32Array(nodes), depths = new Uint32Array(nodes);
  for (let i = 1; i < nodes; i++) {
    const parent = image.nodeParent[i]!;
    nodeNumbers[i] = dictionary.node(nodeNumbers[parent]!, frameNumbers[image.nodeFrame[i]!]!);
    depths[i] = depths[parent]! + 1;
  }
  const rows = image.rowNode.length;
  const others = [...functions, ...types.map(rowOfType)];
  const traceTraceback = new Uint32Array(rows + others.length);
  const attribution = new Attribution(image, names);
  for (let row = 0; row < rows; row++) {
    const node = image.rowNode[row]!, depth = depths[node]!;
    // A traceback as long as the limit may have lost older frames: its whole length is not known.
    traceTraceback[row] = tracebacks.intern(nodeNumbers[node]!, depth < image.tracebackLimit ? depth + 1 : 0);
    attribution.add(image.nodeFrame[node]!, image.rowBlocks[row]!, image.rowSize[row]!);
  }
  others.forEach(({ frames, total, size, count }, i) => {
    let node = 0;
    for (const { filename, lineno } of frames) {
      node = dictionary.node(node, dictionary.frame(dictionary.filename(filename), lineno));
    }
    traceTraceback[rows + i] = tracebacks.intern(node, total === 0 ? 0 : total + 1);
    if (i < functions.length) attribution.addFunction(count, size);
    else attribution.addType(count, size);
  });
  const behind = <T extends Uint32Array | Float64Array>(column: T, value: (row: NamedRow) => number): T => {
    const all = new (column.constructor as new (length: number) => T)(rows + others.length);
    all.set(column);
    others.forEach((row, i) => all[rows + i] = value(row));
    return all;
  };
  return {
    columns: {
      tracebackLimit: image.tracebackLimit,
      ...dictionary.columns(),
      tracebackNode: tracebacks.first.slice(0, tracebacks.length),
      tracebackTotal: tracebacks.second.slice(0, tracebacks.length),
      traceDomain: behind(image.rowDomain, () => Domain["js-heap"]),
      traceSize: behind(image.rowSize, ({ size }) => size),
      traceCount: behind(image.rowBlocks, ({ count }) => count),
      traceTraceback,
    },
    attribution: attribution.rows(),
  };
}

function rowOfType({ name, size, count }: HeapType): NamedRow {
  return { frames: [{ filename: `<${name}>`, lineno: 0 }], total: 1, size, count };
}

/** Counts blocks by what is known of their most recent frame. */
class Attribution {
  readonly #image: Image;
  readonly #names: readonly NamedFrame[];
  readonly #counts = new Map<string, { blocks: number; bytes: number }>();

  constructor(image: Image, names: readonly NamedFrame[]) {
    this.#image = image;
    this.#names = names;
    for (const reason of Object.values(reasons)) this.#counts.set(reason, { blocks: 0, bytes: 0 });
    for (const reason of unknownReasons) this.#counts.set(`unknown: ${reason}`, { blocks: 0, bytes: 0 });
  }

  add(frame: number, blocks: number, size: number): void {
    this.#add(this.#reason(frame), blocks, size);
  }

  addFunction(blocks: number, size: number): void {
    this.#add(reasons.function, blocks, size);
  }

  addType(blocks: number, size: number): void {
    this.#add(reasons.type, blocks, size);
  }

  #add(reason: string, blocks: number, size: number): void {
    const count = this.#counts.get(reason)!;
    count.blocks += blocks;
    count.bytes += blocks * size;
  }

  #reason(frame: number): string {
    const { frameKind, frameOwner, scriptFlags } = this.#image;
    const owner = frameOwner[frame]!;
    switch (frameKind[frame]) {
      case FrameKind.script:
        if (scriptFlags[owner]! & ScriptFlag.internal) return reasons.inside;
        return this.#names[frame]!.lineno === 0 ? reasons.position : reasons.javascript;
      case FrameKind.native:
        return reasons.native;
      case FrameKind.thread:
        return reasons.thread;
      case FrameKind.memory:
        return reasons.memory;
      default:
        return `unknown: ${unknownReasons[owner] ?? "for a reason that is not known either"}`;
    }
  }

  rows(): AttributionCount[] {
    const rows = [...this.#counts].map(([reason, { blocks, bytes }]) => ({ reason, blocks, bytes }));
    const lost = counterNames.slice(0, 3).map((reason, i) => ({
      reason,
      blocks: this.#image.counters[i] ?? 0,
      bytes: 0,
    }));
    return [...rows, ...lost].filter(({ reason, blocks }) => blocks > 0 || reason === reasons.javascript);
  }
}

/** The tiers that frames of the program were seen in, `name → number of frames`; for `info`. */
export function tiersSeen(image: Image): Map<string, number> {
  const seen = new Map<string, number>(), own = new Set<number>();
  image.scriptUrl.forEach((url, script) => isCalibration(image.strings[url]!) && own.add(script));
  for (const [name, bit] of Object.entries(Tier)) {
    let frames = 0;
    for (let i = 0; i < image.frameTiers.length; i++) {
      if (image.frameTiers[i]! & bit && !(image.frameKind[i] === FrameKind.script && own.has(image.frameOwner[i]!))) {
        frames++;
      }
    }
    seen.set(name, frames);
  }
  return seen;
}
