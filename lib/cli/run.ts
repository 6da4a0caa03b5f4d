import { spawn } from "node:child_process";
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { basename, dirname, join } from "@std/path";
import { TracemallocError, UnsupportedError } from "../model/errors.ts";
import { ensureShim } from "../runtime/shim_file.ts";
import { readTransfer, snapshotOf } from "../tracer/traced_image.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { printError } from "./output.ts";
import { sum, topText } from "./top.ts";

const runtimes = ["deno", "bun", "node"] as const;
type Runtime = typeof runtimes[number];

/** `run SCRIPT`: a program, traced from its very start. */
export const run: Command = {
  name: "run",
  summary: "run a program traced from its very start; write a snapshot when it ends and show its top lines",
  operands: "SCRIPT [ARG…]",
  operandCount: [1, Infinity],
  stopAtOperand: true,
  options: [
    { name: "-n", value: "NFRAME", help: "keep so many frames of every traceback, 1 to 65535 (1)" },
    { name: "-o", value: "FILE", help: "write the snapshot to FILE (tracemalloc-SCRIPT.PID.snapshot)" },
    { name: "--runtime", value: "NAME", help: `run it with ${runtimes.join(", ")} (the one that runs this)` },
    { name: "--runtime-flags", value: "FLAGS", help: "options of the runtime, separated by spaces (Deno: -A)" },
  ],
  notes: "The program's arguments, standard streams, exit code and signals are passed through.",
  async run(args: Arguments): Promise<number> {
    const plan = makePlan(args);
    const folder = mkdtempSync(join(tmpdir(), "tracemalloc-"));
    try {
      const { pid, code, signal } = await runProgram(plan, join(folder, "transfer"));
      reportSnapshot(plan, join(folder, "transfer"), pid, signal);
      if (signal !== null) dieBy(signal);
      return code ?? 1;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },
};

/** What is to be done; all that can be checked before it begins, was. */
interface Plan {
  readonly nframe: number;
  readonly output: string | undefined;
  readonly executable: string;
  readonly flags: readonly string[];
  readonly shim: string;
  readonly script: string;
  readonly scriptArguments: readonly string[];
}

function makePlan(args: Arguments): Plan {
  const limit = args.last("-n") ?? "1", nframe = Number(limit);
  if (!/^[0-9]+$/.test(limit) || nframe < 1 || nframe > 65535) {
    throw new UsageError(`-n must be a whole number from 1 to 65535, not ${limit}`);
  }
  const [script = "", ...scriptArguments] = args.operands;
  checkScript(script);
  const output = args.last("-o");
  checkOutput(output ?? "snapshot");
  const runtime = chooseRuntime(args.last("--runtime"));
  const flags = (args.last("--runtime-flags") ?? "-A").split(/\s+/).filter((flag) => flag !== "");
  const shim = ensureShim();
  return { nframe, output, executable: executableOf(runtime), flags, shim, script, scriptArguments };
}

/** Scripts can also be URLs and names of packages, which the runtime finds. */
function checkScript(script: string): void {
  if (/^[a-z][a-z0-9+.-]+:/i.test(script)) return;
  if (!existsSync(script)) throw new TracemallocError(`there is no script ${script}`, "ENOENT");
  if (statSync(script).isDirectory()) throw new TracemallocError(`${script} is a folder, not a script`, "EISDIR");
}

/** The program should not run for an hour before its snapshot turns out to have no place to go. */
function checkOutput(output: string): void {
  const folder = dirname(output);
  if (!existsSync(folder)) throw new TracemallocError(`there is no folder ${folder} for the snapshot`, "ENOENT");
  if (existsSync(output) && statSync(output).isDirectory()) {
    throw new TracemallocError(`${output} is a folder: name a file for the snapshot`, "EISDIR");
  }
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (cause) {
    throw new TracemallocError(
      `no permission to write the snapshot into the folder ${folder}: choose another with -o`,
      "EACCES",
      { cause },
    );
  }
}

function ownRuntime(): Runtime {
  return "deno" in process.versions ? "deno" : "bun" in process.versions ? "bun" : "node";
}

function chooseRuntime(name: string | undefined): Runtime {
  const runtime = name === undefined ? ownRuntime() : runtimes.find((known) => known === name);
  if (runtime === undefined) throw new UsageError(`--runtime must be one of ${runtimes.join(", ")}, not ${name}`);
  if (runtime !== "deno") {
    throw new UnsupportedError(`tracing programs on ${runtime} is not supported yet: use --runtime deno`);
  }
  return runtime;
}

/** The one that runs this, or the one that PATH leads to. */
function executableOf(runtime: Runtime): string {
  if (runtime === ownRuntime()) return process.execPath;
  const found = (process.env["PATH"] ?? "").split(":").map((folder) => join(folder || ".", runtime)).find(existsSync);
  if (found === undefined) {
    throw new UnsupportedError(`${runtime} is not on the PATH: install it, or start this with it`);
  }
  return found;
}

interface Ended {
  readonly pid: number | undefined;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Passed on to the program; what the terminal sends it gets by itself. */
const passedOn = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;
const fromTerminal = ["SIGINT", "SIGQUIT"] as const;

function runProgram(plan: Plan, transfer: string): Promise<Ended> {
  const agent = new URL("../runtime/agent.ts", import.meta.url);
  agent.searchParams.set("shim", plan.shim);
  agent.searchParams.set("transfer", transfer);
  const child = spawn(plan.executable, [
    "run",
    ...plan.flags,
    // V8 keeps source positions only when asked to.
    "--v8-flags=--detailed-line-info",
    ...(plan.flags.includes("-A") ? [] : [`--allow-ffi=${plan.shim}`]),
    `--preload=${agent.href}`,
    plan.script,
    ...plan.scriptArguments,
  ], {
    stdio: "inherit",
    env: {
      ...process.env,
      // The shim takes both out of the environment again before the program can see them.
      LD_PRELOAD: [plan.shim, process.env["LD_PRELOAD"]].filter(Boolean).join(":"),
      TRACEMALLOC_PRELOAD: String(plan.nframe),
    },
  });
  // Not child.kill(): Deno then takes the child to have ended by that signal, whatever it did.
  const passOn = (signal: NodeJS.Signals) => {
    if (child.pid !== undefined) process.kill(child.pid, signal);
  };
  const ignore = () => {};
  for (const signal of passedOn) process.on(signal, passOn);
  for (const signal of fromTerminal) process.on(signal, ignore);
  return new Promise((resolve, reject) => {
    const done = () => {
      for (const signal of passedOn) process.off(signal, passOn);
      for (const signal of fromTerminal) process.off(signal, ignore);
    };
    child.on("error", (cause) => {
      done();
      reject(new TracemallocError(`${plan.executable} cannot be started: ${cause.message}`, "SPAWN", { cause }));
    });
    child.on("exit", (code, signal) => {
      done();
      resolve({ pid: child.pid, code, signal });
    });
  });
}

function reportSnapshot(plan: Plan, transfer: string, pid: number | undefined, signal: string | null): void {
  if (!existsSync(transfer)) {
    const how = signal === null ? "before it could be taken" : `by ${signal}`;
    printError(`tracemalloc run: there is no snapshot: the program ended ${how}\n`);
    return;
  }
  const output = plan.output ?? `tracemalloc-${basename(scriptName(plan.script))}.${pid}.snapshot`;
  const snapshot = snapshotOf(readTransfer(new Uint8Array(readFileSync(transfer))));
  const statistics = snapshot.statistics("lineno");
  const settings = { keyType: "lineno", cumulative: false, limit: 10, filters: [], json: false } as const;
  printError(topText(statistics, sum(statistics), settings));
  snapshot.dump(output);
  printError(`The snapshot is in ${output}: \`tracemalloc top ${output}\` shows more of it.\n`);
}

function scriptName(script: string): string {
  return script.startsWith("file:") ? fileURLToPath(script) : script;
}

/** Whoever waits for us is to see what the program ended by. */
function dieBy(signal: NodeJS.Signals): void {
  process.kill(process.pid, signal);
}
