import { realpathSync, statSync } from "node:fs";
import { join } from "@std/path";
import { attempt, sourceFiles, toPath } from "./source_files.ts";

/** Whose source a report shows: nobody's, that of files under the working folder, or of all that can be read. */
export type ReportSources = "none" | "cwd" | "all";

/** What programs are written in: a snapshot cannot ask for the text of anything else, keys or settings for instance. */
const sourceName = /\.(?:[cm]?[jt]sx?|vue|svelte)$/i;

/** Bytes of the largest file that is read. */
const largest = 16 * 2 ** 20;

/**
 * How the source of a report's frames is read. Names come from the snapshot, which can be a stranger's: where `which` is
 * `cwd`, what a name leads to by links and dots must be under `folder`.
 */
export function reportSources(which: ReportSources, folder: string): (filename: string) => string[] | undefined {
  const base = join(attempt(() => realpathSync(folder)) ?? folder, "/");
  return (filename) => {
    const named = which === "none" ? undefined : toPath(filename);
    const path = named === undefined ? undefined : attempt(() => realpathSync(named));
    if (path === undefined || !sourceName.test(path)) return undefined;
    if (which === "cwd" && !path.startsWith(base)) return undefined;
    const stats = attempt(() => statSync(path));
    if (!stats?.isFile() || stats.size > largest) return undefined;
    return sourceFiles.read(path)?.split(/\r\n|\r|\n/);
  };
}
