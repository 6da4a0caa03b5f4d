import type { SnapshotMetadata } from "../model/columns.ts";
import { Dictionary } from "../model/dictionary.ts";
import { formatSize, formatSizeDiff } from "../model/format_number.ts";
import { Grouping } from "../model/group.ts";
import type { StatisticDiff } from "../model/statistic_diff.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { print } from "./output.ts";
import { printNotes } from "./notes.ts";
import { operand, partialOption, readInto } from "./read.ts";
import { readStatisticsOptions, statisticsOptions, type StatisticsSettings } from "./statistics_options.ts";
import { statisticsTable } from "./statistics_table.ts";
import { groupLines, groupName, tracebackJson } from "./statistics_text.ts";
import { outputTerminal, type Terminal } from "./terminal.ts";

/** `diff OLD NEW`: what changed most. */
export const diff: Command = {
  name: "diff",
  summary: "show the lines, files or tracebacks whose memory changed most between two snapshots",
  operands: "OLD NEW",
  operandCount: [2, 2],
  options: [...statisticsOptions, partialOption],
  async run(args: Arguments): Promise<number> {
    const settings = readStatisticsOptions(args);
    const { keyType, cumulative, filters } = settings;
    const groups = new Dictionary();
    // Cumulative groups overlap: only others add up to the whole.
    const files = new Dictionary();
    const pair = [0, 1].map(() => ({
      grouping: new Grouping(keyType, { cumulative, filters, dictionary: groups }),
      whole: new Grouping("filename", { filters, dictionary: files }),
    })) as [GroupingPair, GroupingPair];
    let newest: SnapshotMetadata = {};
    for (const [i, { grouping, whole }] of pair.entries()) {
      const targets = cumulative ? [grouping, whole] : [grouping];
      ({ metadata: newest } = await readInto(operand(args, i), targets, args.has(partialOption.name)));
    }
    const [older, newer] = pair;
    const differences = newer.grouping.compareTo(older.grouping);
    const total = sum(cumulative ? newer.whole.compareTo(older.whole) : differences);
    const terminal = outputTerminal();
    if (settings.json) print(diffJson(differences, total, settings));
    else if (terminal === null) print(diffText(differences, total, settings));
    else print(diffTable(differences, total, settings, terminal));
    printNotes(newest);
    return 0;
  },
};

interface GroupingPair {
  readonly grouping: Grouping;
  readonly whole: Grouping;
}

/** Bytes and blocks together, in the newer snapshot and as a change. */
interface Sum {
  readonly size: number;
  readonly sizeDiff: number;
  readonly count: number;
  readonly countDiff: number;
}

/** What is printed where it is not to a terminal, in the words of Python. */
function diffText(differences: readonly StatisticDiff[], total: Sum, settings: StatisticsSettings): string {
  const { keyType, limit, cumulative } = settings;
  const shown = differences.slice(0, limit);
  const lines = [title(shown.length, settings)];
  shown.forEach((difference, i) => lines.push(...groupLines(i + 1, difference, keyType)));
  const others = differences.slice(limit);
  if (others.length > 0) lines.push(`${others.length} other${cumulative ? "" : `: ${sizes(sum(others))}`}`);
  lines.push(`Total allocated size: ${sizes(total)}`);
  return `${lines.join("\n")}\n`;
}

function diffTable(
  differences: readonly StatisticDiff[],
  total: Sum,
  settings: StatisticsSettings,
  terminal: Terminal,
): string {
  const { keyType, limit, cumulative } = settings;
  const shown = differences.slice(0, limit), others = differences.slice(limit);
  return statisticsTable(shown, {
    title: title(shown.length, settings),
    keyType,
    total,
    others: { groups: others.length, sum: cumulative ? null : sum(others) },
  }, terminal);
}

function title(count: number, { keyType, cumulative }: StatisticsSettings): string {
  return `Top ${count} changes of ${groupName(keyType)}${cumulative ? ", cumulative" : ""}`;
}

function diffJson(differences: readonly StatisticDiff[], total: Sum, settings: StatisticsSettings): string {
  const { keyType, cumulative, limit } = settings;
  const groups = differences.slice(0, limit).map(({ traceback, size, sizeDiff, count, countDiff }) => ({
    traceback: tracebackJson(traceback),
    size,
    sizeDiff,
    count,
    countDiff,
  }));
  const report = { keyType, cumulative, groups: differences.length, total, differences: groups };
  return `${JSON.stringify(report, null, 2)}\n`;
}

function sizes({ size, sizeDiff }: Sum): string {
  return `${formatSize(size)} (${formatSizeDiff(sizeDiff)})`;
}

function sum(differences: readonly StatisticDiff[]): Sum {
  const total = { size: 0, sizeDiff: 0, count: 0, countDiff: 0 };
  for (const { size, sizeDiff, count, countDiff } of differences) {
    total.size += size;
    total.sizeDiff += sizeDiff;
    total.count += count;
    total.countDiff += countDiff;
  }
  return total;
}
