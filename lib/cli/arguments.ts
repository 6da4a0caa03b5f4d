/** An option of a command. */
export interface OptionSpec {
  /** With its dashes: `--by`, `-n`. */
  readonly name: string;
  /** What its value is called in the help; without one it is a switch. */
  readonly value?: string;
  /** Whether it can be given several times; otherwise the last counts. */
  readonly multiple?: boolean;
  readonly help: string;
}

/** A command line that is wrong. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** A command line, taken apart. */
export class Arguments {
  readonly operands: readonly string[];
  readonly #values: ReadonlyMap<string, readonly string[]>;

  constructor(operands: readonly string[], values: ReadonlyMap<string, readonly string[]>) {
    this.operands = operands;
    this.#values = values;
  }

  /** Whether an option was given. */
  has(name: string): boolean {
    return this.#values.has(name);
  }

  /** All values that were given to an option. */
  all(name: string): readonly string[] {
    return this.#values.get(name) ?? [];
  }

  /** The last value that was given to an option. */
  last(name: string): string | undefined {
    return this.all(name).at(-1);
  }
}

/**
 * Takes a command line apart: `--name value`, `--name=value`, `-n value`, `-nvalue`; `--` ends the options.
 *
 * @throws {UsageError} Where an option is not known, or its value is missing or too much.
 */
export function parseArguments(
  argv: readonly string[],
  specs: readonly OptionSpec[],
  stopAtOperand = false,
): Arguments {
  const operands: string[] = [];
  const values = new Map<string, string[]>();
  for (let i = 0; i < argv.length; i++) {
    const argument = argv[i]!;
    if (argument === "--") {
      operands.push(...argv.slice(i + 1));
      break;
    }
    if (!argument.startsWith("-") || argument === "-") {
      if (stopAtOperand) {
        operands.push(...argv.slice(i));
        break;
      }
      operands.push(argument);
      continue;
    }
    const { name, attached } = splitOption(argument);
    const spec = specs.find((spec) => spec.name === name);
    if (spec === undefined) throw new UsageError(`unknown option ${name}${suggest(name, specs.map((s) => s.name))}`);
    let value = attached;
    if (spec.value === undefined) {
      if (value !== undefined) throw new UsageError(`${name} takes no value, but was given "${value}"`);
      value = "";
    } else if (value === undefined) {
      value = argv[++i];
      if (value === undefined) throw new UsageError(`${name} needs a value: ${name} ${spec.value}`);
    }
    const before = spec.multiple ? values.get(name) ?? [] : [];
    values.set(name, [...before, value]);
  }
  return new Arguments(operands, values);
}

function splitOption(argument: string): { name: string; attached: string | undefined } {
  if (!argument.startsWith("--")) {
    return { name: argument.slice(0, 2), attached: argument.length > 2 ? argument.slice(2) : undefined };
  }
  const equals = argument.indexOf("=");
  if (equals < 0) return { name: argument, attached: undefined };
  return { name: argument.slice(0, equals), attached: argument.slice(equals + 1) };
}

/** The name that was probably meant, as a question; empty where none is near. */
export function suggest(name: string, known: readonly string[]): string {
  let nearest = "";
  let least = Infinity;
  for (const candidate of known) {
    const distance = editDistance(name, candidate);
    if (distance < least) [nearest, least] = [candidate, distance];
  }
  return least <= Math.max(name.length > 2 ? 2 : 0, Math.floor(name.length / 3)) ? `; did you mean ${nearest}?` : "";
}

/** How many characters must be added, removed or replaced to get from one to the other (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
