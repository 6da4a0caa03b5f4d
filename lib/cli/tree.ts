import { TracebackSums, type TracebackTable } from "../aggregate/traceback_sums.ts";
import { formatSize } from "../model/format_number.ts";
import { sourceLine } from "../model/source_lines.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { print } from "./output.ts";
import { operand, partialOption, readInto } from "./read.ts";
import { filterOptions, readFilters } from "./statistics_options.ts";
import { shortPlace } from "./statistics_table.ts";
import { columnsOf, outputTerminal, pad, printable, shorten, styled, type Terminal } from "./terminal.ts";

/** `tree FILE`: through which lines most memory is allocated. */
export const tree: Command = {
  name: "tree",
  summary: "show the paths through which most memory is allocated, as a tree of lines",
  operands: "FILE",
  operandCount: [1, 1],
  options: [
    { name: "-n", value: "COUNT", help: "show so many lines, those with the most (40)" },
    ...filterOptions,
    partialOption,
  ],
  notes: "Paths are as long as the tracebacks: take the snapshot with `run -n 25` or start(25).",
  async run(args: Arguments): Promise<number> {
    const count = args.last("-n") ?? "40";
    if (!/^[0-9]+$/.test(count)) throw new UsageError(`-n must be a whole number, not ${count}`);
    const sums = new TracebackSums(readFilters(args));
    await readInto(operand(args, 0), [sums], args.has(partialOption.name));
    // What is no terminal has no width that anything must fit into.
    const terminal = outputTerminal() ?? { width: Infinity, colour: false };
    print(treeText(sums.table(), Number(count), terminal));
    return 0;
  },
};

/** What stands before a line: that of the tree above it, and what leads to the lines below it. */
interface Line {
  readonly node: number;
  readonly branch: string;
  readonly below: string;
}

/** The nodes with most bytes, `limit` at most. A line that all goes on to but one other has it straight below it. */
export function treeText(table: TracebackTable, limit: number, terminal: Terminal): string {
  const { nodeParent } = table;
  const { width, colour } = terminal;
  const total = new Float64Array(nodeParent.length), blocks = new Float64Array(nodeParent.length);
  table.node.forEach((node, row) => {
    total[node]! += table.size[row]!;
    blocks[node]! += table.count[row]!;
  });
  for (let node = nodeParent.length - 1; node > 0; node--) {
    total[nodeParent[node]!]! += total[node]!;
    blocks[nodeParent[node]!]! += blocks[node]!;
  }
  // Parents have no less than their children, and lower numbers: what is chosen hangs together.
  const chosen = Array.from(nodeParent.subarray(1), (_, i) => i + 1)
    .sort((a, b) => total[b]! - total[a]! || a - b).slice(0, limit);
  const children = Map.groupBy(chosen, (node) => nodeParent[node]!);
  const barWidth = width >= 120 ? 20 : width >= 80 ? 10 : 5;
  const lines = [styled(`${formatSize(total[0]!)} in ${blocks[0]} blocks`, "bold", colour)];
  const stack: Line[] = [{ node: 0, branch: "", below: "" }];
  for (let line = stack.pop(); line !== undefined; line = stack.pop()) {
    const { node, branch, below } = line;
    if (node !== 0) {
      const part = total[0] === 0 ? 0 : total[node]! / total[0]!;
      const share = pad(`${(100 * part).toFixed(1)} %`, 7, "before"), size = pad(formatSize(total[node]!), 8, "before");
      const front = `${share}  ${size}  ${pad(bar(part, barWidth), barWidth, "after")}  `;
      const shown = `${share}  ${styled(size, "bold", colour)}  ${
        styled(pad(bar(part, barWidth), barWidth, "after"), "grown", colour)
      }  `;
      lines.push(shown + placeText(table, node, branch, width - columnsOf(front), colour));
    }
    const next = children.get(node) ?? [];
    const [only] = next;
    // Not below the root: what stands there are several programs, threads and libraries.
    if (node !== 0 && next.length === 1 && total[only!] === total[node]) {
      stack.push({ node: only!, branch: below, below });
      continue;
    }
    for (let i = next.length - 1; i >= 0; i--) {
      const node = next[i]!, last = i === next.length - 1, root = line.node === 0;
      stack.push({
        node,
        branch: root ? "" : below + (last ? "└─ " : "├─ "),
        below: root ? "" : below + (last ? "   " : "│  "),
      });
    }
  }
  const left = nodeParent.length - 1 - chosen.length;
  if (left > 0) lines.push(styled(`${left} other line${left === 1 ? "" : "s"} with less`, "dim", colour));
  return `${lines.join("\n")}\n`;
}

/** A place with what leads to it, and its source line where there is room for some of it. */
function placeText(table: TracebackTable, node: number, branch: string, room: number, colour: boolean): string {
  const frame = table.nodeFrame[node]!, lineno = table.frameLineno[frame]!;
  const filename = table.filenames[table.frameFilename[frame]!]!;
  // So deep that no room would be left: the part of the tree that is nearer is more worth.
  const lead = columnsOf(branch) > room - 12 ? `…${branch.slice(-Math.max(0, Math.floor(room) - 13))}` : branch;
  const place = shorten(shortPlace(filename, lineno), room - columnsOf(lead), "start");
  const left = room - columnsOf(lead) - columnsOf(place) - 2;
  const source = left < 16 ? "" : shorten(printable(sourceLine(filename, lineno)), left, "end");
  const text = styled(lead, "dim", colour) + styled(place, "place", colour);
  return source === "" ? text : `${text}  ${styled(source, "dim", colour)}`;
}

const eighths = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/** A part from 0 to 1 as a bar, to an eighth of a column. */
function bar(part: number, width: number): string {
  const parts = Math.round(part * width * 8);
  return "█".repeat(Math.floor(parts / 8)) + eighths[parts % 8]!;
}
