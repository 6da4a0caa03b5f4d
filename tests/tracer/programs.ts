/** Runs the programs of tests/programs/ on Deno, traced and not. Each way is run once, whoever asks for the result. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { readTransfer } from "../../lib/tracer/traced_image.ts";
import { Snapshot } from "../../mod.ts";
import { buildNativeLibraries } from "../../tools/native_libraries.mjs";
import { deno as executable } from "./deno.ts";
import { type Mark, readMarks } from "./marks.ts";

/** The top of the repository. */
export const root: string = fileURLToPath(new URL("../../", import.meta.url));

const folder = `${root}tests/programs/`;

/** A program: its main file, and all files whose lines it runs, by their paths. */
export interface Program {
  readonly name: string;
  readonly script: string;
  readonly files: readonly string[];
}

/** What every program may import, and what is no program of its own. */
const shared = ["keep.ts", "heat.ts", "shifted_types.ts"].map((name) => folder + name);

/** All programs: a file each, or a folder with a `main.ts`. */
export function findPrograms(): Program[] {
  return readdirSync(folder, { withFileTypes: true }).sort((a, b) => a.name < b.name ? -1 : 1).flatMap((entry) => {
    const path = folder + entry.name;
    if (entry.isFile()) {
      const isProgram = /\.tsx?$/.test(path) && !shared.includes(path);
      return isProgram ? [{ name: entry.name, script: path, files: [path, ...shared] }] : [];
    }
    const main = `${path}/main.ts`;
    return existsSync(main) ? [{ name: entry.name, script: main, files: [...scriptsIn(path), ...shared] }] : [];
  });
}

function scriptsIn(path: string): string[] {
  return readdirSync(path, { withFileTypes: true }).flatMap((entry) => {
    const inner = `${path}/${entry.name}`;
    if (entry.isDirectory()) return scriptsIn(inner);
    return /(?<!\.d)\.[cm]?[jt]s$/.test(inner) ? [inner] : [];
  });
}

/** The marks of a program's files. */
export function marksOf({ files }: Program): Mark[] {
  return files.flatMap((file) => readMarks(file, textOf(file)));
}

const texts = new Map<string, string>();

/** The text of a file. */
export function textOf(file: string): string {
  let text = texts.get(file);
  if (text === undefined) texts.set(file, text = readFileSync(file, "utf8"));
  return text;
}

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What tracing a program showed. */
export interface Traced {
  readonly ended: Ended;
  readonly snapshot: Snapshot;
  /** `Tier` bits by `file:line`; not known in every mode. */
  readonly tiers: ReadonlyMap<string, number> | undefined;
}

/** How programs are traced. */
export type Mode = "run -n 1" | "run -n 25" | "start(1)" | "start(25)";

/** All of them. */
export const modes: readonly Mode[] = ["run -n 1", "run -n 25", "start(1)", "start(25)"];

const traced = new Map<string, Traced>();

/** Traces a program; the result is kept. */
export function trace(program: Program, mode: Mode): Traced {
  const key = `${program.script} ${mode}`;
  let result = traced.get(key);
  if (!result) traced.set(key, result = traceNow(program, mode));
  return result;
}

function traceNow({ script }: Program, mode: Mode): Traced {
  const nframe = /\d+/.exec(mode)![0];
  return inFolder((temporary) => {
    const snapshot = join(temporary, "snapshot"), transfer = join(temporary, "transfer");
    const ended = mode.startsWith("start")
      ? deno([`${root}tests/tracer/start_program.ts`, nframe, snapshot, transfer, script])
      // As anybody runs it, the first time; with something of ours inside the other time.
      : run(["-n", nframe, "-o", snapshot, ...(nframe === "1" ? [] : savesTransfer(transfer)), script]);
    if (!existsSync(snapshot)) {
      const how = `exit code ${ended.code}, signal ${ended.signal}`;
      throw new Error(`${mode} left no snapshot of ${script}, ${how}:\n${ended.stdout}${ended.stderr}`);
    }
    return {
      ended,
      snapshot: Snapshot.load(snapshot),
      tiers: existsSync(transfer) ? tiersOf(new Uint8Array(readFileSync(transfer))) : undefined,
    };
  });
}

function savesTransfer(path: string): string[] {
  const module = new URL("save_transfer.ts", import.meta.url);
  module.searchParams.set("to", path);
  return ["--runtime-flags", `-A --preload=${module.href}`];
}

function tiersOf(transfer: Uint8Array<ArrayBuffer>): Map<string, number> {
  const { image, names } = readTransfer(transfer);
  const { frameTiers } = image;
  const tiers = new Map<string, number>();
  names!.forEach(({ filename, lineno }, i) => {
    const place = `${filename}:${lineno}`;
    tiers.set(place, (tiers.get(place) ?? 0) | frameTiers[i]!);
  });
  return tiers;
}

/** What a process is given. */
export interface Given {
  readonly input?: string;
  readonly env?: Record<string, string>;
}

/** Runs a program with the command line, from the root of the repository. */
export function run(args: readonly string[], given: Given = {}): Ended {
  return deno([`${root}cli.ts`, "run", ...args], given);
}

/** Runs a script on the Deno that is traced, whichever runtime runs the test, from the root of the repository. */
export function deno(args: readonly string[], { input = "", env = {} }: Given = {}): Ended {
  prepare();
  const { status, signal, stdout, stderr, error } = spawnSync(executable, ["run", "-A", ...args], {
    cwd: root,
    encoding: "utf8",
    input,
    env: { ...process.env, NO_COLOR: "1", ...env },
  });
  if (error) throw error;
  return { code: status, signal, stdout, stderr };
}

let prepared = false;

function prepare(): void {
  if (!prepared) buildNativeLibraries();
  prepared = true;
}

/** Calls with a folder that exists only meanwhile. */
export function inFolder<T>(work: (path: string) => T): T {
  const path = mkdtempSync(join(tmpdir(), "tracemalloc-test-"));
  try {
    return work(path);
  } finally {
    rmSync(path, { recursive: true });
  }
}
