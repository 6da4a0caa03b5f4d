import process from "node:process";
import { formatInteger, formatSignedInteger, formatSize, formatSizeDiff } from "../model/format_number.ts";
import type { KeyType } from "../model/key_type.ts";
import { sourceLine } from "../model/source_lines.ts";
import type { Traceback } from "../model/traceback.ts";
import { columnsOf, pad, printable, shorten, type Style, styled, type Terminal } from "./terminal.ts";

/** A statistic, or a difference of two. */
export interface TableGroup {
  readonly traceback: Traceback;
  readonly size: number;
  readonly count: number;
  readonly sizeDiff?: number;
  readonly countDiff?: number;
}

interface Column {
  readonly title: string;
  readonly text: (group: Omit<TableGroup, "traceback">, total: number) => string;
  readonly style?: (group: Omit<TableGroup, "traceback">) => Style | null;
  /** Left out where there are fewer columns on the terminal. */
  readonly from?: number;
}

const size: Column = { title: "Size", text: ({ size }) => formatSize(size), style: () => "bold" };
const count: Column = { title: "Blocks", text: ({ count }) => formatInteger(count) };
const share: Column = {
  title: "Share",
  text: ({ size }, total) => total === 0 ? "" : `${(100 * size / total).toFixed(1)} %`,
};
const average: Column = {
  title: "Average",
  text: ({ size, count }) => count === 0 ? "" : formatSize(size / count),
  from: 80,
};
const sizeDiff: Column = {
  title: "Change",
  text: ({ sizeDiff = 0 }) => formatSizeDiff(sizeDiff),
  style: ({ sizeDiff = 0 }) => direction(sizeDiff),
};
const countDiff: Column = {
  title: "Blocks ±",
  text: ({ countDiff = 0 }) => formatSignedInteger(countDiff),
  style: ({ countDiff = 0 }) => direction(countDiff),
  from: 70,
};

function direction(change: number): Style | null {
  return change > 0 ? "grown" : change < 0 ? "shrunk" : null;
}

/** What stands in a table beside its groups. */
export interface TableSettings {
  readonly title: string;
  readonly keyType: KeyType;
  /** Of all groups, shown or not. */
  readonly total: Omit<TableGroup, "traceback">;
  /** The groups that are not shown; `null` where they cannot be added up. */
  readonly others: { readonly groups: number; readonly sum: Omit<TableGroup, "traceback"> | null };
}

/**
 * Groups as a table for a terminal: numbers below each other, places as short as they must be, and the source line below
 * each, as in Python's "pretty top".
 */
export function statisticsTable(groups: readonly TableGroup[], settings: TableSettings, terminal: Terminal): string {
  const { title, keyType, total, others } = settings;
  const { width, colour } = terminal;
  const all = total.sizeDiff === undefined ? [size, share, count, average] : [sizeDiff, size, countDiff, count];
  const columns = all.filter(({ from = 0 }) => width >= from);
  const sums = [...(others.groups > 0 && others.sum !== null ? [others.sum] : []), total];
  const texts = [...groups, ...sums].map((group) => columns.map(({ text }) => text(group, total.size)));
  const widths = columns.map(({ title }, i) => Math.max(title.length, ...texts.map((cells) => columnsOf(cells[i]!))));
  const rankWidth = `${groups.length}`.length;
  const before = widths.reduce((sum, width) => sum + width + 2, rankWidth + 2);
  const room = Math.max(width - before, 12);
  const line = (rank: string, cells: readonly string[], styles: readonly (Style | null)[], place: string) => {
    const shown = cells.map((cell, i) => {
      const text = pad(cell, widths[i]!, "before"), style = styles[i];
      return style ? styled(text, style, colour) : text;
    });
    return [styled(pad(rank, rankWidth, "before"), "dim", colour), ...shown, place].join("  ").trimEnd();
  };
  const place = { lineno: "Line", filename: "File", traceback: "Traceback, the most recent line last" }[keyType];
  const head = line("", columns.map(({ title }) => title), [], shorten(place, room, "end"));
  const lines = [
    styled(title, "bold", colour),
    styled(pad(head, Math.min(width, before + room), "after"), "heading", colour),
  ];
  groups.forEach((group, i) => {
    const [first = "", ...rest] = placeLines(group.traceback, keyType, room, colour);
    lines.push(line(`${i + 1}`, texts[i]!, columns.map(({ style }) => style?.(group) ?? null), first));
    for (const text of rest) lines.push(" ".repeat(before) + text);
  });
  sums.forEach((sum, i) => {
    const name = i === sums.length - 1 ? "in all" : `${others.groups} other${others.groups === 1 ? "" : "s"}`;
    lines.push(line("", texts[groups.length + i]!, columns.map(({ style }) => style?.(sum) ?? null), name));
  });
  if (others.groups > 0 && others.sum === null) lines.push(`${others.groups} others`);
  return `${lines.join("\n")}\n`;
}

/** The frames, each with its source line below it where that can be read. */
function placeLines(traceback: Traceback, keyType: KeyType, room: number, colour: boolean): string[] {
  return [...traceback].flatMap(({ filename, lineno }) => {
    const place = shortPlace(filename, keyType === "filename" ? 0 : lineno);
    const source = keyType === "filename" ? "" : printable(sourceLine(filename, lineno));
    const shown = styled(shorten(place, room, "start"), "place", colour);
    return source === "" ? [shown] : [shown, styled(`  ${shorten(source, room - 2, "end")}`, "dim", colour)];
  });
}

/** A place as people on this machine call it: below the working folder from there on, and without a line there is none. */
export function shortPlace(filename: string, lineno: number): string {
  const folder = `${process.cwd()}/`;
  const name = printable(filename.startsWith(folder) ? filename.slice(folder.length) : filename);
  return lineno === 0 ? name : `${name}:${lineno}`;
}
