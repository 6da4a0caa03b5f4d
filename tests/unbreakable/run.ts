/** Runs programs traced, on the runtime that runs the test: the pinned Deno or Bun. */
import { assertEquals } from "@std/assert";
import { spawn, spawnSync, type SpawnSyncReturns } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Snapshot } from "@x/tracemalloc";
import { deno } from "../tracer/deno.ts";

export { deno };

/** The top of the repository. */
export const root: string = fileURLToPath(new URL("../../", import.meta.url));

const onBun = "Bun" in globalThis;

/** The runtime that programs run on, and what stands before the script where they are untraced. */
export const [runtime, runtimeFlags]: readonly [string, readonly string[]] = onBun
  ? [fileURLToPath(new URL("../../node_modules/.bin/bun", import.meta.url)), []]
  : [deno, ["run", "-A"]];

/** Options of tests that do nothing but start programs: they are the same whichever runtime runs the test, and take long. */
export const once: { skip?: string } = onBun ? { skip: "the same programs run when Deno runs the test" } : {};

/** A folder for files of a test. */
export interface Folder {
  path(name: string): string;
  remove(): void;
}

export function makeFolder(): Folder {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-unbreakable-"));
  chmodSync(folder, 0o755);
  return { path: (name) => join(folder, name), remove: () => rmSync(folder, { recursive: true }) };
}

/** Compiles a C file of this folder with the system's compiler. Returns the target. */
export function compile(source: string, target: string, ...flags: readonly string[]): string {
  const path = fileURLToPath(new URL(source, import.meta.url));
  const { status, stderr, error } = spawnSync(
    process.env["CC"] || "cc",
    [
      "-std=c11",
      "-D_GNU_SOURCE",
      "-O1",
      "-g",
      "-Wall",
      "-Wextra",
      "-Werror",
      "-fno-builtin",
      path,
      "-o",
      target,
      ...flags,
    ],
    { encoding: "utf8" },
  );
  assertEquals([error, status], [undefined, 0], stderr);
  return target;
}

interface Given {
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
}

const command = [...runtimeFlags, `${root}cli.ts`, "run"];

/** Runs `tracemalloc run` to its end. */
export function run(args: readonly string[], { env, ...given }: Given = {}): SpawnSyncReturns<string> {
  return spawnSync(runtime, [...command, ...args], {
    encoding: "utf8",
    env: { ...process.env, ...env },
    maxBuffer: 2 ** 28,
    ...given,
  });
}

/** A program that is traced while the test goes on. */
export interface Started {
  readonly pid: number;
  /** The next line that it writes to standard output. */
  line(): Promise<string>;
  /** Looks again and again; fails when the program ends before it is so. */
  until(condition: () => boolean): Promise<void>;
  readonly ended: Promise<{ code: number | null; signal: string | null; stderr: string }>;
}

/** Starts `tracemalloc run`. */
export function start(args: readonly string[], { env, ...given }: Given = {}): Started {
  const child = spawn(runtime, [...command, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
    ...given,
  });
  let stdout = "", stderr = "", running = true;
  child.stdout.on("data", (data) => stdout += data);
  child.stderr.on("data", (data) => stderr += data);
  const ended = new Promise<Awaited<Started["ended"]>>((resolve) => {
    child.on("exit", () => running = false);
    child.on("close", (code, signal) => resolve({ code, signal, stderr }));
  });
  const until = async (condition: () => boolean) => {
    while (!condition()) {
      if (!running) throw new Error(`the program has ended: ${stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  };
  return {
    pid: child.pid!,
    ended,
    until,
    async line() {
      await until(() => stdout.includes("\n"));
      const end = stdout.indexOf("\n"), line = stdout.slice(0, end);
      stdout = stdout.slice(end + 1);
      return line;
    },
  };
}

/** Who allocated the blocks of a size. */
export function ownersOf(size: number, path: string): string[] {
  return [...Snapshot.load(path).traces].filter((trace) => trace.size === size).map(({ traceback }) =>
    String(traceback.at(-1))
  );
}
