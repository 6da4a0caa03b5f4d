import { frameLabel, framesDown } from "./frames.ts";
import type { ExportSource, ExportTarget } from "./target.ts";

/** The JSON of speedscope: two profiles, one weighed by bytes and one by blocks. */
export const speedscope: ExportTarget = {
  name: "speedscope",
  summary: "speedscope",
  differences: false,
  binary: false,
  *write({ table, metadata }: ExportSource) {
    const { runtime, runtimeVersion, pid } = metadata;
    const name = ["tracemalloc", runtime, runtimeVersion, pid === undefined ? undefined : `process ${pid}`]
      .filter((part) => part !== undefined).join(" ");
    const head = {
      $schema: "https://www.speedscope.app/file-format-schema.json",
      exporter: "tracemalloc",
      name,
      activeProfileIndex: 0,
    };
    yield `${JSON.stringify(head).slice(0, -1)},"shared":{"frames":[`;
    for (const [i, line] of table.frameLineno.entries()) {
      const file = table.filenames[table.frameFilename[i]!]!;
      const shown = { name: frameLabel(file, line), file, ...(line === 0 ? {} : { line }) };
      yield `${i === 0 ? "" : ","}\n${JSON.stringify(shown)}`;
    }
    yield `]},"profiles":[`;
    for (const [name, unit, weights] of [["bytes", "bytes", table.size], ["blocks", "none", table.count]] as const) {
      if (weights !== table.size) yield ",";
      const endValue = weights.reduce((sum, weight) => sum + weight, 0);
      const profile = { type: "sampled", name, unit, startValue: 0, endValue };
      yield `\n${JSON.stringify(profile).slice(0, -1)},"samples":[`;
      for (let row = 0; row < table.node.length; row++) {
        yield `${row === 0 ? "" : ","}\n${JSON.stringify(framesDown(table, table.node[row]!))}`;
      }
      yield `],"weights":${JSON.stringify([...weights])}}`;
    }
    yield "]}\n";
  },
};
