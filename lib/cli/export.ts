import { isatty } from "node:tty";
import { TracebackSums } from "../aggregate/traceback_sums.ts";
import type { ExportTarget } from "../export/target.ts";
import { targets } from "../export/targets.ts";
import { type Arguments, suggest, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { writeOutput } from "./output.ts";
import { operand, partialOption, readInto } from "./read.ts";
import { filterOptions, readFilters } from "./statistics_options.ts";

const names = targets.map(({ name }) => name);

/** `export [OLD] FILE --to FORMAT`: for other tools. */
export const exportCommand: Command = {
  name: "export",
  summary: "write a snapshot, or the difference of two, in the format of another tool",
  operands: "[OLD] FILE",
  operandCount: [1, 2],
  options: [
    { name: "--to", value: "FORMAT", help: names.join(", ") },
    { name: "-o", value: "FILE", help: "write to FILE, and not to standard output" },
    ...filterOptions,
    partialOption,
  ],
  notes: `Formats, and what opens them:\n${
    targets.map(({ name, summary, differences }) =>
      `  ${name.padEnd(Math.max(...names.map((other) => other.length)))}  ${summary}${
        differences ? "" : "; one snapshot only"
      }\n`
    ).join("")
  }`.trimEnd(),
  async run(args: Arguments): Promise<number> {
    const target = readTarget(args.last("--to"));
    const filters = readFilters(args), partial = args.has(partialOption.name);
    const [path, olderPath] = args.operands.map((_, i) => operand(args, i)).reverse();
    if (olderPath !== undefined && !target.differences) {
      const others = targets.filter(({ differences }) => differences).map(({ name }) => name);
      throw new UsageError(`${target.name} has no differences: give one snapshot, or use ${others.join(", ")}`);
    }
    const output = args.last("-o");
    if (output === "") throw new UsageError("the path of the output is empty");
    if (target.binary && output === undefined && isatty(1)) {
      throw new UsageError(`${target.name} is not for terminals: give -o FILE`);
    }
    const older = olderPath === undefined ? null : new TracebackSums(filters);
    if (older !== null) await readInto(olderPath!, [older], partial);
    const newer = new TracebackSums(filters, older);
    const head = await readInto(path!, [newer], partial);
    await writeOutput(output, target.write({ ...head, table: newer.table() }));
    return 0;
  },
};

function readTarget(name: string | undefined): ExportTarget {
  if (name === undefined) throw new UsageError(`--to is missing: ${names.join(", ")}`);
  const target = targets.find((target) => target.name === name);
  if (target === undefined) {
    throw new UsageError(`--to must be ${names.join(", ")}, not ${name}${suggest(name, names)}`);
  }
  return target;
}
