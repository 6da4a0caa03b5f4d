/**
 * Source maps of scripts that this thread has not loaded: the runtime applies only those that it has. They are read here,
 * for no package can be (agent.ts), and `SourceMap` of `node:module` takes another of several originals of one place than
 * the runtime does, where there is one at all.
 */
import { fileURLToPath } from "node:url";
import type { OriginalPosition, Position, ScriptText } from "./backend.ts";

/** What is used of a source map. */
export interface SourceMap {
  readonly version: 3;
  readonly sources: readonly (string | null)[];
  readonly sourceRoot?: string;
  readonly mappings: string;
}

/** Reads a file; `undefined` where there is none, or it may not be read. */
export type ReadText = (path: string) => string | undefined;

const comment = /^\/\/# sourceMappingURL=(\S+)\s*$/gm;

/**
 * Looks through files for one with a text, and for the source map of that. `null`: the text is what the author wrote, for it
 * has no map. `undefined`: it was not found, or its map cannot be read.
 */
export function findSourceMap(
  text: ScriptText,
  url: string,
  files: readonly string[],
  readText: ReadText,
): SourceMap | null | undefined {
  for (const file of files) {
    const found = readText(file);
    if (found === undefined) continue;
    const mapUrl = [...found.matchAll(comment)].at(-1);
    // The runtime takes away the comment that it has added itself.
    const compiled = mapUrl ? found.slice(0, mapUrl.index) : found;
    if (![found, compiled, compiled.replace(/\n$/, "")].some((candidate) => isText(candidate, text))) continue;
    return mapUrl ? readMap(mapUrl[1]!, url, readText) : null;
  }
  return undefined;
}

function isText(candidate: string, { length, hash }: ScriptText): boolean {
  if (candidate.length !== length || hash === 0) return false;
  let own = 0x811c9dc5;
  for (let i = 0; i < length; i++) own = Math.imul(own ^ candidate.charCodeAt(i), 0x01000193);
  return own >>> 0 === hash;
}

function readMap(mapUrl: string, url: string, readText: ReadText): SourceMap | undefined {
  const inline = /^data:application\/json(?:;charset=[^;,]*)?;base64,(.*)$/.exec(mapUrl)?.[1];
  const text = inline !== undefined ? decode(inline) : readBeside(mapUrl, url, readText);
  try {
    const map = JSON.parse(text ?? "null");
    return map?.version === 3 && typeof map.mappings === "string" && Array.isArray(map.sources) ? map : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function readBeside(mapUrl: string, url: string, readText: ReadText): string | undefined {
  const file = URL.canParse(mapUrl, url) ? new URL(mapUrl, url) : undefined;
  return file?.protocol === "file:" ? readText(fileURLToPath(file)) : undefined;
}

function decode(base64: string): string {
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
}

/** The author's positions; line 0 where the map says nothing. */
export function mapPositions(map: SourceMap, url: string, positions: readonly Position[]): OriginalPosition[] {
  const segments = readSegments(map.mappings, new Set(positions.map(({ line }) => line)));
  return positions.map(({ line, column }) => {
    const segment = segmentAt(segments.get(line) ?? [], column);
    const source = map.sources[segment?.source ?? -1];
    if (segment?.source === undefined || typeof source !== "string") return { url, line: 0 };
    const path = `${map.sourceRoot ? `${map.sourceRoot}/` : ""}${source}`;
    return { url: URL.canParse(path, url) ? new URL(path, url).href : url, line: segment.line };
  });
}

/** What a compiled text has from a column on; columns and lines from 1. */
interface Segment {
  readonly column: number;
  /** `undefined`: nothing of the author's. */
  readonly source: number | undefined;
  readonly line: number;
}

/** The first of those that begin where the last one at or before a column does. */
function segmentAt(line: readonly Segment[], column: number): Segment | undefined {
  let low = 0, high = line.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (line[middle]!.column <= column) low = middle + 1;
    else high = middle;
  }
  let at = low - 1;
  while (at > 0 && line[at - 1]!.column === line[at]!.column) at--;
  return line[at];
}

/** The segments of some lines, in their order. */
function readSegments(mappings: string, wanted: ReadonlySet<number>): Map<number, Segment[]> {
  const segments = new Map<number, Segment[]>();
  let source = 0, original = 1;
  mappings.split(";").forEach((text, i) => {
    let column = 1;
    const line = text === "" ? [] : text.split(",").map((field): Segment => {
      const numbers = readNumbers(field);
      column += numbers[0] ?? 0;
      source += numbers[1] ?? 0;
      original += numbers[2] ?? 0;
      return { column, source: numbers.length >= 4 ? source : undefined, line: original };
    });
    if (wanted.has(i + 1)) segments.set(i + 1, line);
  });
  return segments;
}

const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Base 64, five bits of a number a digit, least significant first; the sixth bit: there are more; the lowest: the sign. */
function readNumbers(field: string): number[] {
  const numbers: number[] = [];
  let value = 0, shift = 0;
  for (const char of field) {
    const digit = digits.indexOf(char);
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    numbers.push(value & 1 ? -(value >>> 1) : value >>> 1);
    value = shift = 0;
  }
  return numbers;
}
