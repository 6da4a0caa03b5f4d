import { domainName } from "../model/domain.ts";
import { frameLabels, framesDown } from "./frames.ts";
import type { ExportSource, ExportTarget } from "./target.ts";

/**
 * A line a traceback and domain, the most bytes first, for spreadsheets and data frames. `filename` and `lineno` are
 * those of the most recent frame; `traceback` has a line for every frame, the oldest first.
 */
export const csv: ExportTarget = {
  name: "csv",
  summary: "spreadsheets and data frames",
  differences: true,
  binary: false,
  *write({ table }: ExportSource) {
    const { filenames, frameFilename, frameLineno, nodeFrame, older } = table;
    const numbers = older === null ? ["size", "count"] : ["size", "size_diff", "count", "count_diff"];
    yield row(["domain", ...numbers, "filename", "lineno", "traceback"]);
    const labels = frameLabels(table);
    for (const [i, node] of table.node.entries()) {
      const size = table.size[i]!, count = table.count[i]!, last = nodeFrame[node]!;
      const values = older === null ? [size, count] : [size, size - older.size[i]!, count, count - older.count[i]!];
      yield row([
        domainName(table.domain[i]!),
        ...values.map(String),
        filenames[frameFilename[last]!]!,
        String(frameLineno[last]!),
        framesDown(table, node).map((frame) => labels[frame]!).join("\n"),
      ]);
    }
  },
};

/** As RFC 4180 has it. */
function row(cells: readonly string[]): string {
  return `${cells.map((cell) => /[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell).join(",")}\r\n`;
}
