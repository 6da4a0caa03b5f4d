/**
 * What tracing costs, beside other tracers: prints the tables of the README, in about 20 minutes.
 *
 *   deno run -A bench/overhead.ts [--quick] [--rounds N] [PART…]      (parts: pairs below live programs bun; 3 rounds)
 *
 * Every round runs each variant once, in turn, so that what else the machine does meets all of them; a figure is the
 * median of the rounds. Whole programs have twice as many rounds and one, each with two untraced runs, and a ratio is the median
 * of those to the mean of these two; the ratio of the two to each other says what such a figure is worth on this machine. Times
 * are of the processors, not of the clock. A tracer that is not installed is left out and said so. `--quick` runs two cases of
 * every part once and small, to see that it runs.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { ensureShim } from "../lib/runtime/shim_file.ts";

const { values: options, positionals } = parseArgs({
  options: { quick: { type: "boolean", default: false }, rounds: { type: "string", default: "3" } },
  allowPositionals: true,
});
const quick = options.quick, rounds = quick ? 1 : Number(options.rounds);
const file = (name: string) => fileURLToPath(new URL(`overhead/${name}`, import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "overhead-"));
const shim = ensureShim(), program = join(folder, "pairs"), library = join(folder, "libpairs.so");
const interposer = join(folder, "empty.so");

/** A way to run a program: what stands before its command line, and what is in its environment. */
interface Variant {
  readonly name: string;
  readonly before?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** The variant that it is compared with; untraced, unless it brings its own allocator. */
  readonly base?: string;
  /** What is missing, if it cannot be run. */
  readonly missing?: string | undefined;
  /** It takes so long that one round must do. */
  readonly slow?: boolean;
}

const preloaded = (nframe: number): Variant => ({
  name: `ours, ${nframe} frame${nframe > 1 ? "s" : ""}`,
  environment: { LD_PRELOAD: shim, TRACEMALLOC_PRELOAD: String(nframe) },
});
const untraced: Variant = { name: "untraced" };
const empty: Variant = { name: "empty interposer", environment: { LD_PRELOAD: interposer } };
const heaptrack: Variant = {
  name: "heaptrack",
  before: ["heaptrack", "--raw", "-o", join(folder, "heaptrack")],
  missing: spawnSync("heaptrack", ["--version"]).error ? "heaptrack (Debian: heaptrack)" : undefined,
};
const tcmalloc = "/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4";
const gperftools: readonly Variant[] = [
  { name: "tcmalloc", environment: { LD_PRELOAD: tcmalloc } },
  {
    name: "gperftools",
    base: "tcmalloc",
    slow: true,
    environment: {
      LD_PRELOAD: tcmalloc,
      HEAPPROFILE: join(folder, "gperftools"),
      HEAP_PROFILE_ALLOCATION_INTERVAL: "0",
      HEAP_PROFILE_INUSE_INTERVAL: "0",
    },
  },
].map((variant) => ({
  ...variant,
  missing: existsSync(tcmalloc) ? undefined : "gperftools (Debian: libgoogle-perftools4)",
}));

const parts = { pairs, below, live, programs, bun };
type Part = keyof typeof parts;

try {
  for (const part of positionals) {
    if (!(part in parts)) throw new Error(`there is no part ${part}; there are ${Object.keys(parts).join(", ")}`);
  }
  compile(program, "pairs.c", []);
  compile(library, "pairs.c", ["-shared", "-fPIC"]);
  compile(interposer, "empty.c", ["-shared", "-fPIC"]);
  console.log(
    `${new Date().toISOString().slice(0, 10)}, ${cpus().length} × ${cpus()[0]?.model.trim()}, ${rounds} rounds`,
  );
  for (const part of Object.keys(parts) as Part[]) {
    if (positionals.length === 0 || positionals.includes(part)) parts[part]();
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

/** (a) Nanoseconds that a tracer adds to malloc and free, together, in a C program. */
function pairs(): void {
  const many = quick ? 10_000 : 1_000_000, kept = quick ? 10_000 : 1_000_000;
  const variants = [untraced, empty, preloaded(1), preloaded(25), ...gperftools, heaptrack];
  const cases: Record<string, readonly string[]> = {};
  for (const depth of [5, 30]) {
    for (const threads of [1, 2]) {
      const name = `depth ${depth}, ${threads} thread${threads > 1 ? "s" : ""}`;
      cases[`freed at once, ${name}`] = ["churn", `${threads}`, `${depth}`, `${many}`];
      cases[`a million live, ${name}`] = ["kept", `${threads}`, `${depth}`, `${many / 2}`, `${kept / threads}`];
    }
  }
  table(
    "C: ns added to a pair of malloc and free",
    added(variants, cases, (variant, [task = "", threads = "", depth = "", pairs = "0", ...rest]) =>
      // gperftools takes microseconds a call.
      run(variant, [
        program,
        task,
        threads,
        depth,
        // At microseconds a call; and of a million live blocks each is one.
        ...(variant.slow
          ? [Number(pairs) / 50, ...rest.map((live) => Number(live) / 10)].map(String)
          : [pairs, ...rest]),
      ])),
  );
}

/** The same where JavaScript calls the C loop, so that there are frames to walk; and CPython's tracemalloc in Python. */
function below(): void {
  const many = quick ? 10_000 : 1_000_000, runtime = denoExecutable();
  const javascript = (nframe: number, args: readonly string[]) => {
    if (nframe === 0) return run(untraced, [runtime, "run", "-A", file("below_javascript.ts"), library, ...args]);
    const command = [runtime, "run", "-A", cli(), "run", ...traceOptions(nframe), file("below_javascript.ts"), library];
    return run(untraced, [...command, ...args]);
  };
  const python = (nframe: number, [task = "", depth = "", pairs = "0"]: readonly string[]) =>
    run(untraced, ["python3", file("pairs.py"), task, depth, String(Number(pairs) / 5), String(nframe)]);
  const variants = [untraced, { name: "ours, 1 frame" }, { name: "ours, 25 frames" }];
  const missing = spawnSync("python3", ["--version"]).error ? "python3" : undefined;
  const inPython = [{ name: "Python" }, { name: "its tracemalloc, 1 frame", base: "Python" }, {
    name: "its tracemalloc, 25 frames",
    base: "Python",
  }].map((variant) => ({ ...variant, missing }));
  const frames = (name: string) => name.endsWith(" 1 frame") ? 1 : name.endsWith(" 25 frames") ? 25 : 0;
  const cases: Record<string, readonly string[]> = {
    "freed at once, depth 5": ["churn", "5", `${many}`, "0"],
    "freed at once, depth 30": ["churn", "30", `${many}`, "0"],
    "100,000 live, depth 30": ["kept", "30", `${many}`, "100000"],
  };
  table(
    "Below JavaScript (Deno), and in Python: ns added to a pair",
    added([...variants, ...inPython], cases, ({ name }, args) => {
      return (/Python|its/.test(name) ? python : javascript)(frames(name), args);
    }),
  );
}

/** (c), (d) Blocks that live, beside a hash table of as many rows, and a snapshot of them. */
function live(): void {
  const pairs = quick ? "1000" : "300000", ours = preloaded(25);
  const rows = (quick ? [10_000] : [10_000, 100_000, 1_000_000, 10_000_000]).map((count) => {
    const results = Array.from({ length: rounds }, () => ({
      untraced: run(untraced, [program, "live", `${count}`]),
      ours: run(ours, [program, "live", `${count}`]),
      untracedKept: run(untraced, [program, "kept", "1", "5", pairs, `${count}`]),
      kept: run(ours, [program, "kept", "1", "5", pairs, `${count}`]),
      table: run(untraced, [program, "table", `${count}`, pairs]),
    }));
    const column = (name: keyof typeof results[number], column: number) =>
      median(results.map((result) => result[name][column]!));
    return [
      count.toLocaleString("en"),
      `${(column("ours", 0) - column("untraced", 0)).toFixed(0)} ns`,
      `${column("table", 0).toFixed(0)} ns`,
      `${(column("kept", 0) - column("untracedKept", 0)).toFixed(0)} ns`,
      `${column("table", 1).toFixed(0)} ns`,
      `${column("ours", 1).toFixed(1)} B`,
      `${column("ours", 2).toFixed(1)} ms`,
      `${column("ours", 3).toFixed(1)} ms`,
      `${column("ours", 4).toFixed(1)} ms`,
    ];
  });
  const head = [
    "live blocks",
    "added to each malloc",
    "a hash table's insert",
    "added to a pair that replaces one at random",
    "a hash table's delete and insert",
    "tracer's memory a block",
    "takeSnapshot",
    "another thread held up by at most",
    "the same without",
  ];
  table("Live blocks", [head, ...rows]);
}

/** (b) Whole programs: times as ratios to untraced. */
function programs(): void {
  const runtime = denoExecutable(), script = file("programs.ts");
  const names = quick
    ? ["JSON"]
    : ["Uint8Array churn", "Uint8Array churn, 30 frames deep", "TextEncoder churn", "HTTP server", "JSON"]
      .concat("hashing files", "sqlite inserts", "zlib");
  const command = [runtime, "run", "-A", script], again = { name: "untraced again", command };
  const variants: readonly (Variant & { readonly command: readonly string[] })[] = [
    { ...untraced, command },
    ...[1, 25].map((nframe) => ({
      name: preloaded(nframe).name,
      command: [runtime, "run", "-A", cli(), "run", ...traceOptions(nframe), script],
    })),
    again,
    { ...empty, command },
    {
      name: "ours, 25 frames, sampled at 512 KiB",
      command: [runtime, "run", "-A", cli(), "run", "--sample", "512KiB", ...traceOptions(25), script],
    },
    { name: "V8's sampling profiler", command: [runtime, "run", "-A", `--preload=${file("v8_sampling.ts")}`, script] },
    { ...heaptrack, slow: true, command },
  ];
  const cases = Object.fromEntries(names.map((name) => [name, [name, quick ? "0.02" : "1"]]));
  const turns = quick ? 1 : 2 * rounds + 1;
  const times = measure(variants, cases, (variant, args) => run(variant, [...variant.command, ...args])[1]!, turns);
  const head = ["Deno", "untraced", ...variants.slice(1).map(({ name }) => name)];
  table("Whole programs: times as long as untraced", [
    head,
    ...Object.entries(times).map(([name, all]) => {
      const first = all[untraced.name]!, means = first.map((time, round) => (time + all[again.name]![round]!) / 2);
      const ratios = (variant: Variant) => {
        const base = variant === again ? first : means;
        return all[variant.name]?.map((time, round) => time / base[round]!);
      };
      const cells = variants.slice(1).map(ratios).map((of) => of ? median(of).toFixed(2) : "–");
      return [name, `${median(first).toFixed(0)} ms`, ...cells];
    }),
  ]);
}

/** (b) The same on Bun, by a benchmark of its own. */
function bun(): void {
  const script = fileURLToPath(new URL("bun.ts", import.meta.url));
  const runtime = fileURLToPath(new URL("../node_modules/.bin/bun", import.meta.url));
  if (!existsSync(runtime)) return console.log("\nnot installed: Bun (npm run setup)");
  const { status, stdout, stderr } = spawnSync(runtime, [script, String(rounds), ...(quick ? ["json"] : [])], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
  console.log(`\n${stdout.trim()}`);
}

/** A table of what each variant adds to the variant that it is compared with. */
function added(
  variants: readonly Variant[],
  cases: Readonly<Record<string, readonly string[]>>,
  runCase: (variant: Variant, args: readonly string[]) => readonly number[],
): string[][] {
  const bases = new Set(variants.flatMap(({ name, base }) => base ?? (name === "untraced" ? name : [])));
  const times = measure(variants, cases, (variant, args) => runCase(variant, args)[0]!);
  const cell = ({ name, base = "untraced" }: Variant, all: Readonly<Record<string, readonly number[]>>) => {
    if (!(name in all)) return "–";
    const time = median(all[name]!);
    return bases.has(name) ? `(${time.toFixed(0)})` : (time - median(all[base]!)).toFixed(0);
  };
  return [
    ["", ...variants.map(({ name }) => name)],
    ...Object.entries(times).map(([name, all]) => [name, ...variants.map((variant) => cell(variant, all))]),
  ];
}

/** By case and variant, round by round: of runs taken in turn. */
function measure<V extends Variant>(
  variants: readonly V[],
  cases: Readonly<Record<string, readonly string[]>>,
  runCase: (variant: V, args: readonly string[]) => number,
  turns = rounds,
): Record<string, Record<string, number[]>> {
  for (const what of new Set(variants.flatMap(({ missing }) => missing ?? []))) console.log(`not installed: ${what}`);
  const result: Record<string, Record<string, number[]>> = {};
  for (const [name, args] of Object.entries(cases).slice(0, quick ? 2 : undefined)) {
    const figures = variants.filter(({ missing }) => missing === undefined).map((variant) => ({
      variant,
      all: [] as number[],
    }));
    for (let round = 0; round < turns; round++) {
      for (const { variant, all } of figures) if (!round || !variant.slow) all.push(runCase(variant, args));
    }
    result[name] = Object.fromEntries(figures.map(({ variant, all }) => [variant.name, all]));
  }
  return result;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? NaN;
}

/** The numbers in the last line of nothing but numbers that the command prints. */
function run({ before = [], environment = {} }: Variant, command: readonly string[]): number[] {
  const [executable = "", ...args] = [...before, ...command];
  const { status, signal, stdout, stderr, error } = spawnSync(executable, args, {
    encoding: "utf8",
    cwd: folder,
    env: { ...process.env, ...environment },
  });
  const line = stdout?.split("\n").findLast((line) => /^[\d.e+-]+( [\d.e+-]+)*$/.test(line));
  if (status !== 0 || line === undefined) {
    throw new Error(`${executable} ${args.join(" ")}: ${error?.message ?? signal ?? status}\n${stdout}${stderr}`);
  }
  return line.split(" ").map(Number);
}

function compile(target: string, source: string, flags: readonly string[]): void {
  const compiler = process.env["CC"] || "cc";
  const common = "-O2 -g -fno-builtin -fno-omit-frame-pointer -pthread".split(" ");
  const { status, stderr } = spawnSync(compiler, [...common, ...flags, "-o", target, file(source)], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`${compiler} could not build ${source}: ${stderr}`);
}

function cli(): string {
  return fileURLToPath(new URL("../cli.ts", import.meta.url));
}

function traceOptions(nframe: number): string[] {
  return ["-n", String(nframe), "-o", join(folder, "traced.snapshot")];
}

/** The runtime itself and not npm's wrapper. */
function denoExecutable(): string {
  if ("deno" in process.versions) return process.execPath;
  const found = fileURLToPath(new URL("../node_modules/@deno/linux-x64-glibc/deno", import.meta.url));
  if (!existsSync(found)) throw new Error("Deno is not installed: npm run setup");
  return found;
}

function table(title: string, rows: readonly (readonly string[])[]): void {
  const [head = [], ...body] = rows;
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  console.log(
    [`\n${title}\n`, line(head), line(head.map((_, i) => i === 0 ? "---" : "---:")), ...body.map(line)].join("\n"),
  );
}
