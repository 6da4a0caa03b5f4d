import { domainName } from "../model/domain.ts";
import { framesDown } from "./frames.ts";
import type { ExportSource, ExportTarget } from "./target.ts";

/** All there is to know of a snapshot but the sizes of single blocks, as JSON with a line for every traceback. */
export const json: ExportTarget = {
  name: "json",
  summary: "programs of your own",
  differences: true,
  binary: false,
  *write({ table, metadata, tracebackLimit }: ExportSource) {
    const { filenames, frameFilename, frameLineno, older } = table;
    const { calibration, ...rest } = metadata;
    const about = { ...rest, ...(calibration === undefined ? {} : { calibration: Object.fromEntries(calibration) }) };
    const sums = (row?: number) => {
      const at = (values: Float64Array) => row === undefined ? values.reduce((a, b) => a + b, 0) : values[row]!;
      const size = at(table.size), count = at(table.count);
      if (older === null) return { size, count };
      return { size, sizeDiff: size - at(older.size), count, countDiff: count - at(older.count) };
    };
    yield `{"metadata":${JSON.stringify(about)},\n"tracebackLimit":${JSON.stringify(tracebackLimit)},\n`;
    yield `"total":${JSON.stringify(sums())},\n"tracebacks":[`;
    for (const [row, node] of table.node.entries()) {
      const traceback = framesDown(table, node).map((frame) => ({
        filename: filenames[frameFilename[frame]!]!,
        lineno: frameLineno[frame]!,
      }));
      const line = { domain: domainName(table.domain[row]!), ...sums(row), traceback };
      yield `${row === 0 ? "" : ","}\n${JSON.stringify(line)}`;
    }
    yield "\n]}\n";
  },
};
