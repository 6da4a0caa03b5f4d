/**
 * Runs the programs in examples/ and compares what they print with what examples/README.md says they do.
 *
 * Their words, files, lines and order must be the same. Of their numbers,
 *
 * - sizes of lines with blocks of the program's own must be as computed below: in a snapshot to the byte, block by block;
 *   in the text to half a MiB, because the engine allocates on the same lines, now on this one, now on that;
 * - all other sizes must be those of README.md within a factor of two: zlib, SQLite, ICU and the hashes choose them;
 * - counts of blocks are mostly the engine's, several for each buffer, and hundreds now and then on whichever
 *   line runs; with the averages they are patterns.
 */
import { assert, assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Snapshot } from "@x/tracemalloc";
import { deno } from "../tracer/deno.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "tracemalloc-examples-"));
after(() => rmSync(folder, { recursive: true }));

const MiB = 2 ** 20;

/** The lines of examples/service/ that ask for blocks themselves: the bytes of one block, and how many there are. */
interface OwnBlocks {
  readonly line: string;
  readonly size: number;
  /** When the service is ready. */
  readonly ready: number;
  /** When it has served, too. */
  readonly served: number;
}

const ownBlocks: readonly OwnBlocks[] = [
  { line: "service/photos.ts:11", size: 637 * 425 * 3, ready: 24, served: 60 },
  { line: "service/photos.ts:12", size: 637 * 425 * 4, ready: 24, served: 60 },
  { line: "service/photos.ts:13", size: 3 * 65_537 * 4, ready: 24, served: 60 },
  { line: "service/photos.ts:14", size: 463_203, ready: 24, served: 60 },
  { line: "service/clients.ts:8", size: 335_133, ready: 40, served: 100 },
  { line: "service/clients.ts:9", size: 262_147, ready: 40, served: 100 },
  { line: "service/catalog.ts:6", size: 5_242_891, ready: 1, served: 1 },
  { line: "service/pages.ts:7", size: 5 * 100_201, ready: 0, served: 24 },
];

/** The least and the most that a size may be; undefined: within a factor of two of the README's. */
type Limits = readonly [number, number] | undefined;

/** An example: what the sizes in a line may be, and what the service has done when it prints the first one. */
interface Example {
  limits(line: string): readonly Limits[];
  readonly moment?: "ready" | "served";
}

const examples: Readonly<Record<string, Example>> = {
  top_ten: { limits: (line) => sizesOf(line, ({ size, ready }) => [size * ready]), moment: "ready" },
  differences: {
    limits: (line) => sizesOf(line, ({ size, ready, served }) => [size * served, size * (served - ready)]),
    moment: "served",
  },
  traceback: {
    limits: (line) => line.includes("MiB") ? [near(637 * 425 * 4 * 24)] : [],
    moment: "ready",
  },
  pretty_top: {
    limits: (line) => sizesOf(line, ({ size, served }) => [size * served]),
    moment: "served",
  },
  peak: {
    // Left is what the engine allocated meanwhile; the numbers themselves were given back.
    limits(line) {
      const count = line.startsWith("sum 3125001250000:") ? 2_500_001 : 250_001;
      return [[0, MiB / 2], [count * 8, count * 8 + MiB]];
    },
  },
};

function sizesOf(line: string, sizes: (blocks: OwnBlocks) => number[]): Limits[] {
  const own = ownBlocks.find((blocks) => line.includes(`${blocks.line}: `));
  return own ? sizes(own).map(near) : [];
}

function near(size: number): Limits {
  return [size - MiB / 2, size + MiB / 2];
}

const units: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB };

/** Counts of blocks and averages, which are not compared. */
const loose = /(?<=count=)\d+(?: \([+-]\d+\))?|(?<=average=)[\d.]+ [KM]?i?B|\d+(?= others)/g;

/** Sizes, in all the ways in which the examples print them; other numbers are text. */
const sizes = /([+-]?\d+(?:\.\d+)?) (B|KiB|MiB)\b|(?<=peak was )\d+|\d+(?= bytes)/g;

/** A line without its counts, averages and sizes, and the sizes. */
function split(line: string): { text: string; sizes: number[] } {
  const found: number[] = [];
  const text = line.replace(loose, "#").replace(sizes, (number, value?: string, unit?: string) => {
    found.push(unit === undefined ? Number(number) : Number(value) * units[unit]!);
    return "#";
  });
  return { text, sizes: found };
}

function run(name: string, options: readonly string[] = [], env: NodeJS.ProcessEnv = {}): string[] {
  const { status, stdout, stderr } = spawnSync(deno, ["run", "-A", ...options, `examples/${name}.ts`], {
    cwd: root,
    encoding: "utf8",
    env: { ...process.env, ...env },
  });
  assertEquals([status, stderr], [0, ""]);
  return stdout.replaceAll(root, "…/").trimEnd().split("\n");
}

/** What README.md shows of each example. */
function readShown(): Map<string, string[]> {
  const page = readFileSync(`${root}examples/README.md`, "utf8");
  const blocks = page.matchAll(/^```console\n\$ deno run -A examples\/(\w+)\.ts\n([^]*?)\n```$/gm);
  return new Map([...blocks].map(([, name, output]) => [name!, output!.split("\n")]));
}

const shown = readShown();

test("every example is shown, and tested", () => {
  const files = readdirSync(`${root}examples`).filter((name) => name.endsWith(".ts"));
  const names = files.map((name) => name.slice(0, -3)).sort();
  assertEquals([...shown.keys()].sort(), names);
  assertEquals(Object.keys(examples).sort(), names);
});

for (const [name, { limits, moment }] of Object.entries(examples)) {
  test(`${name}.ts prints what the README shows`, () => {
    const lines = shown.get(name)!, output = run(name);
    const printed = output.map(split), expected = lines.map(split);
    assertEquals(printed.map(({ text }) => text), expected.map(({ text }) => text), output.join("\n"));
    for (const [i, line] of lines.entries()) {
      const limited = limits(line);
      for (const [j, size] of expected[i]!.sizes.entries()) {
        const [least, most] = limited[j] ?? [Math.min(size / 2, size * 2), Math.max(size / 2, size * 2)];
        for (const [where, value] of [[`README.md: ${line}`, size], [output[i], printed[i]!.sizes[j]!]] as const) {
          assert(value >= least && value <= most, `${value} is not in [${least}, ${most}]: ${where}`);
        }
      }
    }
  });

  if (moment === undefined) continue;
  test(`${name}.ts: the blocks of the program's own lines, to the byte`, () => {
    const path = join(folder, `${name}.snapshot`);
    run(name, ["--preload=tests/examples/dump_at_first_line.ts"], { SNAPSHOT: path });
    const traces = [...Snapshot.load(path).traces];
    const found = ownBlocks.map(({ line, size }) =>
      traces.filter((trace) => trace.size === size && `${trace.traceback.at(-1)}` === `${root}examples/${line}`).length
    );
    assertEquals(found, ownBlocks.map((blocks) => blocks[moment]));
  });
}
