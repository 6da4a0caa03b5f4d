import process from "node:process";
import { basename } from "@std/path";
import { TracebackSums } from "../aggregate/traceback_sums.ts";
import { type ReportSources, reportSources } from "../host/report_sources.ts";
import { reportHtml } from "../report/report.ts";
import { type Arguments, suggest, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { print, writeOutput } from "./output.ts";
import { operand, partialOption, readInto } from "./read.ts";
import { filterOptions, readFilters } from "./statistics_options.ts";

const sources: readonly ReportSources[] = ["none", "cwd", "all"];

/** `report FILE [OLD]`: a page to look at. */
export const report: Command = {
  name: "report",
  summary: "write a page that shows a snapshot, or what changed since an older one: flame graph, tables, source lines",
  operands: "FILE [OLD]",
  operandCount: [1, 2],
  options: [
    { name: "-o", value: "FILE", help: "write to FILE (that of the snapshot with .html behind)" },
    {
      name: "--sources",
      value: "WHICH",
      help: "show source lines of: none, cwd (files under the working folder; the default), all that can be read",
    },
    ...filterOptions,
    partialOption,
  ],
  notes: "The page is one file and needs no network. Whoever gets it gets the source lines that it shows, too.",
  async run(args: Arguments): Promise<number> {
    const which = args.last("--sources") ?? "cwd", shown = sources.find((known) => known === which);
    if (shown === undefined) {
      throw new UsageError(`--sources must be ${sources.join(", ")}, not ${which}${suggest(which, sources)}`);
    }
    const filters = readFilters(args), partial = args.has(partialOption.name);
    const [path, olderPath] = args.operands.map((_, i) => operand(args, i));
    const output = args.last("-o") ?? `${path}.html`;
    if (output === "") throw new UsageError("the path of the output is empty");
    const read = async (path: string, sums: TracebackSums) => ({
      name: basename(path),
      ...await readInto(path, [sums], partial),
    });
    const olderSums = olderPath === undefined ? null : new TracebackSums(filters);
    const older = olderSums && await read(olderPath!, olderSums);
    const sums = new TracebackSums(filters, olderSums);
    const newer = await read(path!, sums);
    const linesOf = reportSources(shown, process.cwd());
    await writeOutput(output, reportHtml({ table: sums.table(), newer, older, linesOf }));
    print(`The report is in ${output}: open it in a browser.\n`);
    return 0;
  },
};
