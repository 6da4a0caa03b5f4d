import process from "node:process";
import "../host/connect.ts";
import { TracemallocError } from "../model/errors.ts";
import { type OptionSpec, parseArguments, suggest, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { diff } from "./diff.ts";
import { exportCommand } from "./export.ts";
import { importCommand } from "./import.ts";
import { info } from "./info.ts";
import { merge } from "./merge.ts";
import { OutputClosedError, print, printError } from "./output.ts";
import { report } from "./report.ts";
import { run } from "./run.ts";
import { top } from "./top.ts";
import { tree } from "./tree.ts";

/** All commands, in the order of the help. */
const commands: readonly Command[] = [run, top, diff, tree, info, merge, report, importCommand, exportCommand];

const program = "tracemalloc";
const help: OptionSpec = { name: "--help", help: "show this help" };

/** Runs the command line of this process and leaves the exit code for its end. */
export async function runMain(): Promise<void> {
  process.exitCode = await main(process.argv.slice(2));
}

/**
 * Runs a command line.
 *
 * @param argv What stands behind the program's name.
 * @returns The exit code: 0, 1 for a failure, 2 for a usage error.
 */
export async function main(argv: readonly string[]): Promise<number> {
  const command = commands.find(({ name }) => name === argv[0]);
  const name = command === undefined ? program : `${program} ${command.name}`;
  try {
    return command === undefined ? runProgram(argv) : await runCommand(command, argv.slice(1));
  } catch (error) {
    if (error instanceof OutputClosedError) return 0;
    if (error instanceof UsageError) {
      printError(`${name}: ${error.message} (${name} --help shows how)\n`);
      return 2;
    }
    if (error instanceof TracemallocError || error instanceof RangeError) {
      printError(`${name}: ${error.message}\n`);
      return 1;
    }
    throw error;
  }
}

function runProgram(argv: readonly string[]): number {
  const args = parseArguments(argv, [help], true);
  if (args.has(help.name) || args.operands[0] === "help") {
    print(programHelp());
    return 0;
  }
  const wrong = args.operands[0];
  if (wrong === undefined) throw new UsageError("a command is missing");
  throw new UsageError(`unknown command ${wrong}${suggest(wrong, commands.map(({ name }) => name))}`);
}

function runCommand(command: Command, argv: readonly string[]): Promise<number> {
  const args = parseArguments(argv, [...command.options, help], command.stopAtOperand);
  if (args.has(help.name)) {
    print(commandHelp(command));
    return Promise.resolve(0);
  }
  const [least, most] = command.operandCount;
  const count = args.operands.length;
  if (count < least) throw new UsageError(`${command.operands} is what it needs, and ${count} of them were given`);
  if (count > most) throw new UsageError(`unexpected argument ${args.operands[most]}`);
  return command.run(args);
}

function programHelp(): string {
  const rows = commands.map(({ name, operands, summary }): [string, string] => [`${name} ${operands}`, summary]);
  return `Usage: ${program} COMMAND …\n\n${table(rows)}\n${program} COMMAND --help shows the options of a command.\n`;
}

function commandHelp({ name, operands, summary, options, notes }: Command): string {
  const rows = [...options, help].map((option): [string, string] => [
    option.value === undefined ? option.name : `${option.name} ${option.value}`,
    option.help + (option.multiple ? "; can be given several times" : ""),
  ]);
  const more = notes === undefined ? "" : `\n${notes}\n`;
  return `Usage: ${program} ${name} [OPTION…] ${operands}\n\n${capitalize(summary)}.\n\n${table(rows)}${more}`;
}

function table(rows: readonly [string, string][]): string {
  const width = Math.max(...rows.map(([first]) => first.length));
  return rows.map(([first, second]) => `  ${first.padEnd(width)}  ${second}\n`).join("");
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
