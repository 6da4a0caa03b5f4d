import { formatSize } from "../model/format_number.ts";
import { Grouping } from "../model/group.ts";
import type { Statistic } from "../model/statistic.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { print } from "./output.ts";
import { printNotes } from "./notes.ts";
import { operand, partialOption, readInto } from "./read.ts";
import { readStatisticsOptions, statisticsOptions, type StatisticsSettings } from "./statistics_options.ts";
import { statisticsTable } from "./statistics_table.ts";
import { groupLines, groupName, tracebackJson } from "./statistics_text.ts";
import { outputTerminal, type Terminal } from "./terminal.ts";

/** `top FILE`: what holds most memory. */
export const top: Command = {
  name: "top",
  summary: "show the lines, files or tracebacks that hold most memory",
  operands: "FILE",
  operandCount: [1, 1],
  options: [...statisticsOptions, partialOption],
  async run(args: Arguments): Promise<number> {
    const settings = readStatisticsOptions(args);
    const { keyType, cumulative, filters } = settings;
    const grouping = new Grouping(keyType, { cumulative, filters });
    // Cumulative groups overlap: only others add up to the whole.
    const whole = cumulative ? new Grouping("filename", { filters }) : grouping;
    const targets = [...new Set([grouping, whole])];
    const { metadata } = await readInto(operand(args, 0), targets, args.has(partialOption.name));
    const statistics = grouping.statistics();
    const total = sum(whole === grouping ? statistics : whole.statistics());
    const terminal = outputTerminal();
    if (settings.json) print(topJson(statistics, total, settings));
    else if (terminal === null) print(topText(statistics, total, settings));
    else print(topTable(statistics, total, settings, terminal));
    printNotes(metadata);
    return 0;
  },
};

/** Bytes and blocks together. */
interface Sum {
  readonly size: number;
  readonly count: number;
}

/** What `top` prints where it is not to a terminal, in the words of Python. */
export function topText(statistics: readonly Statistic[], total: Sum, settings: StatisticsSettings): string {
  const { limit, cumulative, keyType } = settings;
  const shown = statistics.slice(0, limit);
  const lines = [title(shown.length, settings)];
  shown.forEach((statistic, i) => lines.push(...groupLines(i + 1, statistic, keyType)));
  const others = statistics.slice(limit);
  if (others.length > 0) {
    const size = cumulative ? "" : `: ${formatSize(sum(others).size)}`;
    lines.push(`${others.length} other${size}`);
  }
  lines.push(`Total allocated size: ${formatSize(total.size)}`);
  return `${lines.join("\n")}\n`;
}

function topTable(
  statistics: readonly Statistic[],
  total: Sum,
  settings: StatisticsSettings,
  terminal: Terminal,
): string {
  const { keyType, limit, cumulative } = settings;
  const shown = statistics.slice(0, limit), others = statistics.slice(limit);
  return statisticsTable(shown, {
    title: title(shown.length, settings),
    keyType,
    total,
    others: { groups: others.length, sum: cumulative ? null : sum(others) },
  }, terminal);
}

function title(count: number, { keyType, cumulative }: StatisticsSettings): string {
  return `Top ${count} ${groupName(keyType)}${cumulative ? ", cumulative" : ""}`;
}

function topJson(statistics: readonly Statistic[], total: Sum, settings: StatisticsSettings): string {
  const { keyType, cumulative, limit } = settings;
  const groups = statistics.slice(0, limit).map(({ traceback, size, count }) => ({
    traceback: tracebackJson(traceback),
    size,
    count,
  }));
  const report = { keyType, cumulative, groups: statistics.length, total, statistics: groups };
  return `${JSON.stringify(report, null, 2)}\n`;
}

/** What statistics that do not overlap add up to. */
export function sum(statistics: readonly Statistic[]): Sum {
  let size = 0;
  let count = 0;
  for (const statistic of statistics) {
    size += statistic.size;
    count += statistic.count;
  }
  return { size, count };
}
