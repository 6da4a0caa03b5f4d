/** The author's lines on Node.js. */
import process from "node:process";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { OriginalPosition, Position, ScriptText } from "./backend.ts";
import { findSourceMap, mapPositions, type SourceMap } from "./source_maps.ts";

// Not imported, for Bun loads this, too: see shim_file.ts.
const { readFileSync } = process.getBuiltinModule("node:fs");
const { findSourceMap: findKeptMap } = process.getBuiltinModule("node:module");

/**
 * As in Node's own stack traces: positions are those of the scripts, and those of source maps where Node was told to use
 * them (`--enable-source-maps`). Beyond that, a map that stands in the script itself is always used. Types of TypeScript are
 * made blank where they stand, so that its positions are the author's.
 */
export function originalPositions(
  url: string,
  positions: readonly Position[],
  foreign: ScriptText | undefined,
  text: ScriptText,
): readonly (OriginalPosition | undefined)[] {
  const file = url.startsWith("/") ? pathToFileURL(url).href : url;
  const map = (foreign ? undefined : keptMap(url)) ?? (file.startsWith("file:") ? mapOfFile(file, text) : undefined);
  if (map) return mapPositions(map, file, positions);
  return positions.map(() => foreign && isTransformed(file) ? { url, line: 0 } : undefined);
}

/** Those of this thread. */
function keptMap(url: string): SourceMap | undefined {
  const payload = findKeptMap(url)?.payload;
  // Maps that are made of others have no mappings of their own.
  return typeof payload?.mappings === "string" ? payload as object as SourceMap : undefined;
}

function mapOfFile(url: string, text: ScriptText): SourceMap | undefined {
  const own = fileURLToPath(url);
  const read = (path: string) => path === own || process.sourceMapsEnabled ? readText(path) : undefined;
  return findSourceMap(text, url, [own], read) ?? undefined;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (["ENOENT", "EACCES", "EISDIR", "ERR_ACCESS_DENIED"].includes((error as NodeJS.ErrnoException).code ?? "")) {
      return undefined;
    }
    throw error;
  }
}

/** By `--experimental-transform-types`, which keeps the map in the thread alone. */
function isTransformed(url: string): boolean {
  return /\.[cm]?ts(?:[?#]|$)/.test(url) && (process.features.typescript as string | false) === "transform";
}
