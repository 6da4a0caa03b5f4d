/** Source maps of scripts that this thread has not loaded: the runtime applies only those that it has. */
import module from "node:module";
import { fileURLToPath } from "node:url";
import type { OriginalPosition, Position, ScriptText } from "./backend.ts";

/** A source map and what its sources are relative to. */
export interface FoundMap {
  readonly map: module.SourceMap;
  readonly base: string;
}

const comment = /^\/\/# sourceMappingURL=(\S+)\s*$/gm;

/**
 * Looks through files for one with a text, and for the source map of that. `null`: the text is what the author wrote, for it
 * has no map. `undefined`: it was not found, or its map cannot be read.
 */
export function findSourceMap(
  text: ScriptText,
  url: string,
  files: readonly string[],
  readText: (path: string) => string | undefined,
): FoundMap | null | undefined {
  for (const file of files) {
    const found = readText(file);
    if (found === undefined) continue;
    const mapUrl = [...found.matchAll(comment)].at(-1);
    // The runtime takes away the comment that it has added itself.
    const compiled = mapUrl ? found.slice(0, mapUrl.index) : found;
    if (![found, compiled, compiled.replace(/\n$/, "")].some((candidate) => isText(candidate, text))) continue;
    if (!mapUrl) return null;
    const map = readMap(mapUrl[1]!, url, readText);
    return map && { map, base: url };
  }
  return undefined;
}

function isText(candidate: string, { length, hash }: ScriptText): boolean {
  if (candidate.length !== length || hash === 0) return false;
  let own = 0x811c9dc5;
  for (let i = 0; i < length; i++) own = Math.imul(own ^ candidate.charCodeAt(i), 0x01000193);
  return own >>> 0 === hash;
}

function readMap(
  mapUrl: string,
  url: string,
  readText: (path: string) => string | undefined,
): module.SourceMap | undefined {
  const inline = /^data:application\/json(?:;charset=[^;,]*)?;base64,(.*)$/.exec(mapUrl)?.[1];
  const text = inline !== undefined ? decode(inline) : readBeside(mapUrl, url, readText);
  // Older runtimes have none.
  if (text === undefined || !module.SourceMap) return undefined;
  try {
    return new module.SourceMap(JSON.parse(text));
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function readBeside(mapUrl: string, url: string, readText: (path: string) => string | undefined): string | undefined {
  const file = URL.canParse(mapUrl, url) ? new URL(mapUrl, url) : undefined;
  return file?.protocol === "file:" ? readText(fileURLToPath(file)) : undefined;
}

function decode(base64: string): string {
  return new TextDecoder().decode(Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)));
}

/** The author's positions; line 0 where a map says nothing. */
export function mapPositions({ map, base }: FoundMap, url: string, positions: readonly Position[]): OriginalPosition[] {
  return positions.map(({ line, column }) => {
    const entry = map.findEntry(line - 1, column - 1);
    if (!("originalSource" in entry) || entry.generatedLine !== line - 1) return { url, line: 0 };
    const source = URL.canParse(entry.originalSource, base) ? new URL(entry.originalSource, base).href : url;
    return { url: source, line: entry.originalLine + 1 };
  });
}
