import { collapsed } from "./collapsed.ts";
import { csv } from "./csv.ts";
import { heapprofile } from "./heapprofile.ts";
import { json } from "./json.ts";
import { pprof } from "./pprof.ts";
import { speedscope } from "./speedscope.ts";
import type { ExportTarget } from "./target.ts";

/** All formats, in the order of the help. */
export const targets: readonly ExportTarget[] = [pprof, speedscope, collapsed, heapprofile, csv, json];
