/**
 * Changes lib/model in one place at a time (a comparison, a sign, a number, a rounding, a statement left out) and runs
 * its tests: every change must make one of them fail, or stand in tests/model/SURVIVORS.md with the reason why it is
 * harmless. Prints the changes that no test noticed and how many there are; the exit code is 1 where those are not the
 * ones that stand there.
 *
 *   deno run -A tools/mutate.ts [part of a file name]…
 *
 * Works on copies, one for each processor, so that the tree may be worked in meanwhile.
 */
import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { root, runtimes } from "./runtimes.mjs";
import { scan } from "./scan.ts";

const folder = "lib/model/";

/** The tests that must notice a change, the quickest first; the first one that fails ends it. */
const tests = [
  "model/values",
  "model/snapshot",
  "model/tables",
  "model/source_lines",
  "model/fnmatch",
  "host/host",
  "conformance/conformance",
  "model/fold_rows",
  "laws/laws",
  "format/roundtrip",
  "aggregate/aggregate",
];

/** The tests that come first for a file. */
const ownTests: Readonly<Record<string, readonly string[]>> = {
  "fnmatch.ts": ["model/fnmatch"],
  "fold_rows.ts": ["model/fold_rows"],
  "grow.ts": ["model/tables"],
  "pair_table.ts": ["model/tables"],
  "source_lines.ts": ["model/source_lines"],
};

/** Where the changes stand that no test can notice, and why. */
const knownFile = "tests/model/SURVIVORS.md";

/** What is changed into what, outside of comments, strings and regular expressions. */
const changes: readonly (readonly [RegExp, string])[] = [
  // Not in the bounds of loops: what is beyond the end of a typed array reads as undefined and is not written to.
  [/(?<!; \w+) < /g, " <= "],
  [/ <= /g, " < "],
  [/ > /g, " >= "],
  [/ >= /g, " > "],
  [/ < /g, " > "],
  [/ > /g, " < "],
  [/ === /g, " !== "],
  [/ !== /g, " === "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
  [/ \?\? /g, " && "],
  [/ \+ /g, " - "],
  [/ - /g, " + "],
  [/ \* /g, " / "],
  [/ \/ /g, " * "],
  [/ % /g, " * "],
  [/ \+= /g, " -= "],
  [/ -= /g, " += "],
  [/ \/= /g, " *= "],
  [/\+\+/g, "--"],
  [/--/g, "++"],
  [/(?<=[( ])!(?=[\w(#])/g, ""],
  [/(?<=[( ])-(?=[\w(#])/g, ""],
  [/\btrue\b(?! =)/g, "false"],
  [/\bfalse\b(?! =)/g, "true"],
  [/(?<![\w.#$])0(?![\w.])/g, "1"],
  [/(?<![\w.#$])1(?![\w.])/g, "0"],
  [/(?<![\w.#$])[2-9]\d*(?![\w.])/g, "(1 + $&)"],
  [/\bMath\.min\(/g, "Math.max("],
  [/\bMath\.max\(/g, "Math.min("],
  [/\bMath\.(?:floor|trunc|round)\(/g, "Math.ceil("],
  [/(?<!function )\babs\(/g, "("],
  // Not of false: who asks whether takes undefined for it.
  [/\breturn (?=[^;{]+;)(?!false;)/g, "return void "],
  // A whole statement on a line of its own.
  [/(?<=\n *)(?:this\.)?[#\w.]+\([^\n]*\);(?=\n)/g, ";"],
  [/(?<=\n *)[#\w.[\]!]+ (?:[-+]?=) [^\n]*;(?=\n)/g, ";"],
  [/\bcontinue;/g, ";"],
  [/\bbreak;/g, ";"],
];

/** A change of a file: a line as it is, and as it becomes. */
interface Change {
  readonly file: string;
  readonly code: string;
  readonly becomes: string;
}

interface Mutant extends Change {
  /** The whole source with the change. */
  readonly source: string;
}

const wanted = process.argv.slice(2);
const sources = readdirSync(root + folder).sort()
  .filter((name) => wanted.length === 0 || wanted.some((part) => name.includes(part)))
  .map((name) => ({ file: folder + name, source: readFileSync(root + folder + name, "utf8") }));
const scratch = mkdtempSync(join(tmpdir(), "tracemalloc-mutate-"));
try {
  const copies = Array.from({ length: Math.min(8, availableParallelism()) }, (_, i) => copyTree(join(scratch, `${i}`)));
  const limits = await timeLimits(copies[0]!);
  const mutants = onlyPrograms(sources.flatMap(({ file, source }) => [...makeMutants(file, source)]));
  const waiting = [...mutants];
  const survivors: Mutant[] = [];
  /** Rows for which no survivor was found yet. */
  const known = readKnown().filter(({ file }) => sources.some((one) => one.file === file));
  let unknown = 0;
  const fates = { noticed: 0, "timed out": 0 };
  await Promise.all(copies.map(async (copy) => {
    for (let mutant = waiting.shift(); mutant !== undefined; mutant = waiting.shift()) {
      const path = join(copy, mutant.file);
      const original = readFileSync(path);
      writeFileSync(path, mutant.source);
      const fate = await run(copy, mutant.file, limits);
      writeFileSync(path, original);
      if (fate !== "survived") fates[fate]++;
      else {
        survivors.push(mutant);
        const at = known.findIndex((row) => same(row, mutant));
        if (at >= 0) known.splice(at, 1);
        else {
          unknown++;
          show(mutant, `not in ${knownFile}`);
        }
      }
    }
  }));
  for (const row of known) show(row, `in ${knownFile}, but noticed or no more`);
  for (const { file } of sources) {
    const all = mutants.filter((mutant) => mutant.file === file).length;
    const left = survivors.filter((mutant) => mutant.file === file).length;
    console.log(`${file}: ${all - left} of ${all}`);
  }
  const killed = mutants.length - survivors.length;
  console.log(
    `${killed} of ${mutants.length} changes noticed (${(100 * killed / mutants.length).toFixed(1)} %), ` +
      `${fates["timed out"]} of them by a test that did not end; ${survivors.length} survived, ` +
      `${unknown} of them without a known reason`,
  );
  if (unknown > 0 || known.length > 0) process.exitCode = 1;
} finally {
  rmSync(scratch, { recursive: true });
}

function same(a: Change, b: Change): boolean {
  return a.file === b.file && a.code === b.code && a.becomes === b.becomes;
}

function show({ file, code, becomes }: Change, what: string): void {
  console.log(`${file}: ${what}\n  - ${code}\n  + ${becomes}`);
}

/** The rows of the tables of known survivors, each under the heading that names its file. */
function readKnown(): Change[] {
  const known: Change[] = [];
  let file = "";
  for (const line of readFileSync(root + knownFile, "utf8").split("\n")) {
    file = /^## (.*)/.exec(line)?.[1] ?? file;
    const cells = line.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
    const [code, becomes] = cells.slice(1, 3).map((cell) => /^(`+) ?(.*?) ?\1$/.exec(cell)?.[2]);
    if (code !== undefined && becomes !== undefined) known.push({ file, code, becomes });
  }
  return known;
}

function* makeMutants(file: string, source: string): Generator<Mutant> {
  const { code } = scan(source);
  const seen = new Set<string>();
  for (const [pattern, replacement] of changes) {
    for (const match of code.matchAll(pattern)) {
      const end = match.index + match[0].length;
      const text = replacement.replace("$&", match[0]);
      const mutant = source.slice(0, match.index) + text + source.slice(end);
      if (seen.has(mutant)) continue;
      seen.add(mutant);
      const index = source.slice(0, match.index).split("\n").length - 1;
      const [line, becomes] = [source, mutant].map((one) => one.split("\n")[index]!.trim()) as [string, string];
      yield { file, source: mutant, code: line, becomes };
    }
  }
}

/** Leaves out what is no TypeScript any more, such as `??` beside `&&`: no test is needed to notice it. */
function onlyPrograms(mutants: Mutant[]): Mutant[] {
  const check = `
    const transpiler = new Bun.Transpiler({ loader: "ts" });
    const parses = (source) => { try { transpiler.transformSync(source); return true; } catch { return false; } };
    console.log(JSON.stringify(JSON.parse(await Bun.stdin.text()).map(parses)));`;
  const { stdout } = spawnSync(runtimes.bun, ["-e", check], {
    encoding: "utf8",
    input: JSON.stringify(mutants.map(({ source }) => source)),
    maxBuffer: 2 ** 26,
  });
  const parses = JSON.parse(stdout) as boolean[];
  return mutants.filter((_, i) => parses[i]);
}

function copyTree(copy: string): string {
  for (const path of ["lib", "tests", "vendor", "mod.ts", "cli.ts", "package.json", "tsconfig.json", "bunfig.toml"]) {
    cpSync(root + path, join(copy, path), { recursive: true });
  }
  symlinkSync(`${root}node_modules`, join(copy, "node_modules"));
  // The same random values for all, so that what survives does not depend on luck.
  writeFileSync(join(copy, "seed.ts"), 'import fc from "fast-check";\nfc.configureGlobal({ seed: 1 });\n');
  return copy;
}

/** Milliseconds that each test may take: far more than it takes without any change, as other programs run, too. */
async function timeLimits(copy: string): Promise<Map<string, number>> {
  const limits = new Map<string, number>();
  for (const test of tests) {
    const started = performance.now();
    if (await runTest(copy, test, 60_000) !== "survived") throw new Error(`${test} fails without any change`);
    limits.set(test, Math.round(5 * (performance.now() - started) + 3000));
  }
  return limits;
}

type Fate = "survived" | "noticed" | "timed out";

async function run(copy: string, file: string, limits: Map<string, number>): Promise<Fate> {
  const own = ownTests[file.slice(folder.length)] ?? [];
  for (const test of new Set([...own, ...tests])) {
    const fate = await runTest(copy, test, limits.get(test)!);
    if (fate !== "survived") return fate;
  }
  return "survived";
}

function runTest(copy: string, test: string, limit: number): Promise<Fate> {
  const args = ["test", "--bail", "--preload=./seed.ts", `--timeout=${limit}`, `./tests/${test}_test.ts`];
  const child = spawn(runtimes.bun, args, {
    cwd: copy,
    // No questions to python3: its recorded answers do.
    env: { ...process.env, TRACEMALLOC_SEED: "1", TRACEMALLOC_CASES: "0" },
    stdio: "ignore",
    timeout: limit,
    killSignal: "SIGKILL",
  });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on(
      "close",
      (code, signal) => resolve(signal === "SIGKILL" ? "timed out" : code === 0 ? "survived" : "noticed"),
    );
  });
}
