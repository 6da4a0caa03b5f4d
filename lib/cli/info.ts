import { type SnapshotSummary, summarize } from "../aggregate/summarize.ts";
import { domainName } from "../model/domain.ts";
import { formatInteger, formatSize } from "../model/format_number.ts";
import type { Arguments } from "./arguments.ts";
import type { Command } from "./command.ts";
import { print } from "./output.ts";
import { progressOf } from "./progress.ts";
import { operand, partialOption, warnOfDamage } from "./read.ts";

/** `info FILE`: what a snapshot is and how it came to be. */
export const info: Command = {
  name: "info",
  summary: "show where a snapshot comes from, how much it holds and how its blocks were attributed",
  operands: "FILE",
  operandCount: [1, 1],
  options: [{ name: "--json", help: "print JSON" }, partialOption],
  async run(args: Arguments): Promise<number> {
    const path = operand(args, 0);
    const progress = progressOf([path]);
    const options = { partial: args.has(partialOption.name), watch: (bytes: number) => progress.advance(bytes) };
    const summary = await summarize(path, options).finally(() => progress.end());
    if (summary.damage !== null) warnOfDamage(path, summary.damage);
    print(args.has("--json") ? infoJson(summary) : infoText(summary));
    return 0;
  },
};

type Row = readonly string[];

function infoText({ metadata, tracebackLimit, totals, domains }: SnapshotSummary): string {
  const { runtime, runtimeVersion, engine, platform, pid, createdAt, calibration, attribution } = metadata;
  const sections = [
    [
      ["runtime", [runtime, runtimeVersion].filter((part) => part !== undefined).join(" ") || "not known"],
      ["engine", engine ?? "not known"],
      ["platform", platform ?? "not known"],
      ["process", pid === undefined ? "not known" : `${pid}`],
      ["created", createdAt === undefined ? "not known" : timeText(createdAt)],
      ["traceback limit", tracebackLimit === null ? "not known" : `${tracebackLimit}`],
    ],
    [
      ["blocks", formatInteger(totals.blocks)],
      ["bytes", bytesText(totals.bytes)],
      ["distinct traces", `${totals.rows}`],
      ["tracebacks", `${totals.tracebacks}`],
      ["lines", `${totals.frames}`],
      ["files", `${totals.strings}`],
    ],
  ].map((rows) => columns(rows)).map((rows) => rows.join("\n"));
  if (domains.size > 0) {
    sections.push(section("domains", [...domains].map(([domain, sums]) => [domainName(domain), ...amount(sums)])));
  }
  if (attribution !== undefined) {
    sections.push(section("attribution", attribution.map((row) => [row.reason, ...amount(row)])));
  }
  if (calibration !== undefined) sections.push(section("calibration", [...calibration]));
  return `${sections.join("\n\n")}\n`;
}

function amount({ blocks, bytes }: { readonly blocks: number; readonly bytes: number }): Row {
  return [`${formatInteger(blocks)} blocks`, formatSize(bytes)];
}

function section(title: string, rows: readonly Row[]): string {
  return [`${title}:`, ...columns(rows).map((line) => `  ${line}`)].join("\n");
}

/** Rows as lines whose cells stand below each other. */
function columns(rows: readonly Row[]): string[] {
  const width = (i: number) => Math.max(...rows.map((row) => row[i]?.length ?? 0));
  return rows.map((row) =>
    row.map((cell, i) => (i === row.length - 1 ? cell : cell.padEnd(width(i)))).join("  ").trimEnd()
  );
}

/** Exactly, and as other texts show it. */
function bytesText(bytes: number): string {
  const rounded = formatSize(bytes);
  return rounded.endsWith(" B") ? rounded : `${formatInteger(bytes)} (${rounded})`;
}

function timeText(milliseconds: number): string {
  const date = new Date(milliseconds);
  return Number.isNaN(date.getTime()) ? `${milliseconds} ms after 1970` : date.toISOString();
}

function infoJson({ metadata, tracebackLimit, totals, domains }: SnapshotSummary): string {
  const { calibration, ...rest } = metadata;
  const report = {
    ...rest,
    tracebackLimit,
    totals,
    domains: [...domains].map(([domain, sums]) => ({ domain, ...sums })),
    ...(calibration === undefined ? {} : { calibration: Object.fromEntries(calibration) }),
  };
  return `${JSON.stringify(report, null, 2)}\n`;
}
