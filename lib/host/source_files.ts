import { readFileSync, statSync } from "node:fs";
import { fromFileUrl } from "@std/path";
import type { SourceFiles } from "../model/source_lines.ts";

/** Source files on disk, by path or by `file:` URL. */
export const sourceFiles: SourceFiles = {
  version(filename) {
    const path = toPath(filename);
    if (path === undefined) return undefined;
    const stats = attempt(() => statSync(path));
    return stats?.isFile() ? `${stats.mtimeMs} ${stats.size} ${stats.ino}` : undefined;
  },
  read(filename) {
    const path = toPath(filename);
    return path === undefined ? undefined : attempt(() => readFileSync(path, "utf8").replace(/^\ufeff/, ""));
  },
};

/** The path that a file name of a frame means; undefined for what is no file: `<anonymous>`, `node:fs`, `npm:chalk`. */
export function toPath(filename: string): string | undefined {
  if (filename.startsWith("file:")) return URL.canParse(filename) ? fromFileUrl(filename) : undefined;
  return /^[a-z][a-z+.-]+:/i.test(filename) || /^<.*>$/.test(filename) ? undefined : filename;
}

/** Undefined where the system or the runtime's permissions do not let it: a traceback is shown without source then. */
export function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof Error && ("code" in error || error.name === "NotCapable")) return undefined;
    throw error;
  }
}
