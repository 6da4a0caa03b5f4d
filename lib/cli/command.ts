import type { Arguments, OptionSpec } from "./arguments.ts";

/** A command of the command line; one file each. */
export interface Command {
  /** What it is called by. */
  readonly name: string;
  /** What it does, in a line. */
  readonly summary: string;
  /** Its operands, as the usage line shows them. */
  readonly operands: string;
  /** How many operands there are, at least and at most. */
  readonly operandCount: readonly [least: number, most: number];
  /** Whether everything from the first operand on is an operand, options too. */
  readonly stopAtOperand?: boolean;
  readonly options: readonly OptionSpec[];
  /** What else a user should know, as lines of text. */
  readonly notes?: string;
  /**
   * Does it.
   *
   * @returns The exit code.
   * @throws {UsageError} Where the arguments are wrong: a line on standard error and exit code 2.
   * @throws {TracemallocError} Where it cannot be done: a line on standard error and exit code 1.
   */
  run(args: Arguments): Promise<number>;
}
