import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  accessSync,
  constants,
  existsSync,
  lstatSync,
  mkdtempSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
} from "node:fs";
import { constants as system, tmpdir } from "node:os";
import process from "node:process";
import { isatty } from "node:tty";
import { fileURLToPath } from "node:url";
import { basename, dirname, join } from "@std/path";
import type { DomainName } from "../model/domain.ts";
import { TracemallocError, UnsupportedError } from "../model/errors.ts";
import type { Snapshot } from "../model/snapshot.ts";
import { ensureShim, findOthers } from "../runtime/shim_file.ts";
import { engineFlags } from "../runtime/v8_flags.ts";
import { isJsInterval, maxJsInterval, tracedDomains } from "../tracer/tracing.ts";
import { type Arguments, UsageError } from "./arguments.ts";
import type { Command } from "./command.ts";
import { canShowLive, LiveScreen, LiveView } from "./live.ts";
import { printNotes } from "./notes.ts";
import { printError } from "./output.ts";
import { sum, topText } from "./top.ts";
import { type KnownNames, type NamingCommand, snapshotOfTransfer } from "./transfers.ts";

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
    {
      name: "--domains",
      value: "NAMES",
      help: `kinds of memory, of ${tracedDomains.join(",")} (native; Bun: with array-buffer where that is needed)`,
    },
    {
      name: "--js-interval",
      value: "BYTES",
      help: "js-heap: sample one object every so many bytes, on average (8192)",
    },
    {
      name: "--native",
      help: "keep the frames of native code in tracebacks, too, and of the runtime's own JavaScript",
    },
    {
      name: "--sample",
      value: "SIZE",
      help: "record one block every so many bytes, on average, as in 512KiB (every block); sums are estimates then",
    },
    { name: "--runtime", value: "NAME", help: `run it with ${runtimes.join(", ")} (the one that runs this)` },
    { name: "--runtime-flags", value: "FLAGS", help: "options of the runtime, separated by spaces (Deno: -A)" },
    {
      name: "--keep-tail-calls",
      help: "Bun: let calls in tail position take the place of their callers, whose lines are then not on the stack",
    },
    {
      name: "--every",
      value: "TIME|SIZE",
      multiple: true,
      help:
        "write the snapshot also while it runs: every so often (10s, 5min), or when the traced size has changed by so " +
        "much (100MiB)",
    },
    { name: "--signal", value: "NAME", help: "the signal that writes another snapshot, or none (SIGUSR2)" },
    {
      name: "--follow-children",
      help: "trace the programs that it starts, too: a snapshot each, named by the process",
    },
    {
      name: "--live",
      help: "show sizes and top lines in the terminal while it runs, every second or as --every says; see below",
    },
    { name: "--no-metadata", help: "write nothing but the traces: no versions, times and process number" },
  ],
  notes: `The program's arguments, standard streams, exit code and signals are passed through, and recorded nowhere.
With --live the keys are ours: the program has no standard input, and what it writes to the terminal is shown at the
bottom, and whole when the view is closed.`,
  async run(args: Arguments): Promise<number> {
    const plan = makePlan(args);
    const { code, signal } = await inTemporaryFolder(async (folder) => {
      const ended = await runProgram(plan, folder);
      reportSnapshots(plan, folder, ended.pid, ended.signal);
      return ended;
    });
    return signal === null ? code ?? 1 : await dieBy(signal);
  },
};

/** What is in it is loaded into the program, and believed of it: nobody else may put another folder in its place. */
async function inTemporaryFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const temporary = tmpdir(), others = existsSync(temporary) ? findOthers(temporary) : undefined;
  if (others !== undefined) {
    const why = `${others.path} ${others.why}`;
    throw new TracemallocError(
      `${temporary} is no place for a program's traces, for ${why}: set TMPDIR to another`,
      "TMPDIR",
    );
  }
  const folder = makeFolder(temporary);
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function makeFolder(parent: string): string {
  try {
    return mkdtempSync(join(parent, "tracemalloc-"));
  } catch (cause) {
    const { message } = cause as Error;
    throw new TracemallocError(`no temporary folder can be made (${message}): set TMPDIR to another`, "TMPDIR", {
      cause,
    });
  }
}

/** What is to be done; all that can be checked before it begins, was. */
interface Plan {
  readonly nframe: number;
  /** `undefined`: what the runtime's back end takes. */
  readonly domains: readonly DomainName[] | undefined;
  readonly nativeFrames: boolean;
  readonly jsInterval: number | undefined;
  readonly sampleBytes: number;
  readonly output: string | undefined;
  readonly runtime: Runtime;
  readonly executable: string;
  readonly keepTailCalls: boolean;
  readonly flags: readonly string[];
  readonly shim: string;
  readonly script: string;
  readonly scriptArguments: readonly string[];
  /** Milliseconds and bytes; 0: not. */
  readonly every: { readonly milliseconds: number; readonly bytes: number };
  /** Whether what comes every so often is shown and not written. */
  readonly live: boolean;
  readonly signal: NodeJS.Signals | undefined;
  readonly followChildren: boolean;
  readonly withMetadata: boolean;
}

function makePlan(args: Arguments): Plan {
  const limit = args.last("-n") ?? "1", nframe = Number(limit);
  if (!/^[0-9]+$/.test(limit) || nframe < 1 || nframe > 65535) {
    throw new UsageError(`-n must be a whole number from 1 to 65535, not ${limit}`);
  }
  const live = args.has("--live");
  if (live && !canShowLive()) throw new UsageError("--live needs a terminal, for what it shows and for its keys");
  const every = parseEvery(args.all("--every").length === 0 && live ? ["1s"] : args.all("--every")),
    signal = parseSignal(args.last("--signal") ?? "SIGUSR2");
  const domains = chooseDomains(args.last("--domains"));
  const bytes = args.last("--js-interval"), jsInterval = bytes === undefined ? undefined : Number(bytes);
  if (bytes !== undefined && !(/^[0-9]+$/.test(bytes) && isJsInterval(Number(bytes)))) {
    throw new UsageError(`--js-interval must be a whole number from 1 to ${maxJsInterval}, not ${bytes}`);
  }
  const [script = "", ...scriptArguments] = args.operands;
  checkScript(script);
  const output = args.last("-o");
  checkOutput(output ?? "snapshot");
  const runtime = chooseRuntime(args.last("--runtime"));
  const flags = (args.last("--runtime-flags") ?? (runtime === "deno" ? "-A" : "")).split(/\s+/).filter((flag) =>
    flag !== ""
  );
  return {
    nframe,
    domains,
    nativeFrames: args.has("--native"),
    jsInterval,
    sampleBytes: parseSample(args.last("--sample") ?? "1B"),
    output,
    runtime,
    executable: executableOf(runtime),
    keepTailCalls: args.has("--keep-tail-calls"),
    flags,
    shim: ensureShim(),
    script,
    scriptArguments,
    every,
    live,
    signal,
    followChildren: args.has("--follow-children"),
    withMetadata: !args.has("--no-metadata"),
  };
}

const units: Readonly<Record<string, readonly [kind: "milliseconds" | "bytes", factor: number]>> = {
  ms: ["milliseconds", 1],
  s: ["milliseconds", 1000],
  min: ["milliseconds", 60_000],
  h: ["milliseconds", 3_600_000],
  B: ["bytes", 1],
  KiB: ["bytes", 2 ** 10],
  MiB: ["bytes", 2 ** 20],
  GiB: ["bytes", 2 ** 30],
};

function parseEvery(values: readonly string[]): Plan["every"] {
  const every = { milliseconds: 0, bytes: 0 };
  for (const value of values) {
    const [, number, unit] = /^([0-9]+(?:\.[0-9]+)?)([A-Za-z]+)$/.exec(value) ?? [];
    const [kind, factor] = units[unit ?? ""] ?? [];
    const amount = Math.round(Number(number) * (factor ?? NaN));
    if (kind === undefined || !(amount > 0 && Number.isSafeInteger(amount))) {
      throw new UsageError(
        `--every must be a number and one of ${Object.keys(units).join(", ")}, as in 10s, not ${value}`,
      );
    }
    every[kind] = amount;
  }
  return every;
}

function parseSample(value: string): number {
  const [, number, unit] = /^([0-9]+)([A-Za-z]+)$/.exec(value) ?? [];
  const [kind, factor = NaN] = units[unit ?? ""] ?? [];
  if (kind !== "bytes" || !isJsInterval(Number(number) * factor)) {
    throw new UsageError(`--sample must be a whole number and one of B, KiB, MiB, at most 1024MiB, not ${value}`);
  }
  return Number(number) * factor;
}

/** What cannot be caught, and what runtimes and the C library use themselves. */
const noSignals: readonly string[] = ["SIGKILL", "SIGSTOP", "SIGSEGV", "SIGBUS", "SIGFPE", "SIGILL", "SIGCHLD"];

function parseSignal(name: string): NodeJS.Signals | undefined {
  if (name === "none") return undefined;
  if (!(name in system.signals) || noSignals.includes(name)) {
    throw new UsageError(`--signal must be the name of a signal that can be caught, as SIGUSR2, or none, not ${name}`);
  }
  return name as NodeJS.Signals;
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

function chooseDomains(names: string | undefined): DomainName[] | undefined {
  return names?.split(",").map((name) => {
    const known = tracedDomains.find((domain) => domain === name);
    if (known === undefined) throw new UsageError(`--domains must be of ${tracedDomains.join(", ")}, not ${name}`);
    return known;
  });
}

function ownRuntime(): Runtime {
  return "deno" in process.versions ? "deno" : "bun" in process.versions ? "bun" : "node";
}

function chooseRuntime(name: string | undefined): Runtime {
  const runtime = name === undefined ? ownRuntime() : runtimes.find((known) => known === name);
  if (runtime === undefined) throw new UsageError(`--runtime must be one of ${runtimes.join(", ")}, not ${name}`);
  return runtime;
}

/** The one that runs this, or the one that PATH leads to. */
function executableOf(runtime: Runtime): string {
  if (runtime === ownRuntime()) return process.execPath;
  const found = (process.env["PATH"] ?? "").split(":").map((folder) => join(folder || ".", runtime)).find(existsSync);
  if (found === undefined) {
    throw new UnsupportedError(`${runtime} is not on the PATH: install it, or start this with it`);
  }
  if (runtime === "node") requireTypeScript(found);
  return found;
}

/** What is loaded into the program is TypeScript, which Node runs by itself from 22.18 on. */
function requireTypeScript(node: string): void {
  const { stdout, error } = spawnSync(node, ["-p", "process.features.typescript + ' ' + process.version"], {
    encoding: "utf8",
  });
  if (error) throw new UnsupportedError(`${node} cannot be started (${error.message}): install Node 22.18 or newer`);
  const [typescript, version] = stdout.trim().split(" ");
  if (typescript === "strip" || typescript === "transform") return;
  throw new UnsupportedError(`${node} is Node ${version}, which runs no TypeScript: put 22.18 or newer on the PATH`);
}

interface Ended {
  readonly pid: number | undefined;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Passed on to the program; what the terminal sends it gets by itself. */
const passedOn: readonly NodeJS.Signals[] = ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"];
const fromTerminal = ["SIGINT", "SIGQUIT"] as const;

/** What traced processes leave in their folder: `transfer`, `transfer.on-demand.N`, `transfer.PID` of a child. */
const transferName = "transfer";

/** What Bun and Node preload, in the same folder. */
const agentName = "agent.mjs", nodeAgentName = "agent.cjs";

function runProgram(plan: Plan, folder: string): Promise<Ended> {
  const transfer = join(folder, transferName);
  const { args, env } = tracedCommand(plan, transfer);
  const stdio = plan.live
    ? ["ignore" as const, ...[1, 2].map((file) => isatty(file) ? "pipe" as const : "inherit" as const)]
    : "inherit";
  // Bun calls a process what it was called.
  const name = plan.runtime === "bun" && ownRuntime() === "bun" ? { argv0: process.argv0 } : {};
  const child = spawn(notByItsName(plan.executable), args, { stdio, env: { ...process.env, ...env }, ...name });
  // Not child.kill(): Deno then takes the child to have ended by that signal, whatever it did.
  const passOn = (signal: NodeJS.Signals) => {
    if (child.pid !== undefined) process.kill(child.pid, signal);
  };
  const ignore = () => {};
  const passed = new Set([...passedOn, ...(plan.signal ? [plan.signal] : [])]);
  for (const signal of fromTerminal) passed.delete(signal);
  for (const signal of passed) process.on(signal, passOn);
  for (const signal of fromTerminal) process.on(signal, ignore);
  const view = plan.live ? openLiveView(plan, child, passOn) : undefined;
  const seen = { time: 0, names: [] };
  const watcher = watch(folder, () => {
    try {
      reportWhileRunning(plan, folder, child.pid, seen, view);
    } catch (error) {
      // The program goes on, and so does what is passed on to it.
      if (!(error instanceof TracemallocError)) throw error;
      printError(`tracemalloc run: ${error.message}\n`);
    }
  });
  // Denos before 2.6 begin to watch 5 milliseconds later, and fail where the folder is gone by then.
  const watching = new Promise((resolve) => setTimeout(resolve, 6));
  return new Promise<Ended>((resolve, reject) => {
    const done = () => {
      watcher.close();
      view?.close();
      for (const signal of passed) process.off(signal, passOn);
      for (const signal of fromTerminal) process.off(signal, ignore);
    };
    child.on("error", (cause) => {
      done();
      reject(new TracemallocError(`${plan.executable} cannot be started: ${cause.message}`, "SPAWN", { cause }));
    });
    // What it wrote to the last is there only when its streams are closed.
    child.on(view ? "close" : "exit", (code: number | null, signal: NodeJS.Signals | null) => {
      done();
      watching.then(() => resolve({ pid: child.pid, code, signal }));
    });
  });
}

function openLiveView(plan: Plan, child: ChildProcess, interrupt: (signal: NodeJS.Signals) => void): LiveView {
  let saved = 0;
  const screen = new LiveScreen(`${scriptName(plan.script)}, process ${child.pid}`, (snapshot) => {
    const output = outputOf(plan, `${transferName}.live-${++saved}`, child.pid);
    snapshot.dump(output);
    return output;
  });
  const view = new LiveView(screen, interrupt);
  child.stdout?.on("data", (bytes) => view.write(1, bytes));
  child.stderr?.on("data", (bytes) => view.write(2, bytes));
  return view;
}

/**
 * The same file by another name: to a child that is given as `Deno.execPath()`, Deno's `node:child_process` adds
 * permissions that nobody asked for.
 */
function notByItsName(executable: string): string {
  return join(dirname(executable), "/") + "./" + basename(executable);
}

/** How a program is traced: options and environment. */
function tracedCommand(plan: Plan, transfer: string): { args: string[]; env: Record<string, string> } {
  const { flags, shim, nframe, every, signal, script, scriptArguments } = plan;
  const agent = new URL("../runtime/agent.ts", import.meta.url);
  agent.searchParams.set("shim", shim);
  agent.searchParams.set("transfer", transfer);
  if (plan.domains !== undefined) agent.searchParams.set("domains", plan.domains.join(","));
  if (plan.jsInterval !== undefined) agent.searchParams.set("jsInterval", String(plan.jsInterval));
  const child = new URL(agent);
  child.searchParams.set("child", "1");
  agent.searchParams.set("milliseconds", String(every.milliseconds));
  agent.searchParams.set("bytes", String(every.bytes));
  agent.searchParams.set("signal", String(signal === undefined ? 0 : system.signals[signal]));
  // The shim takes them out of the environment again before the program can see them, unless children are followed.
  const env = {
    LD_PRELOAD: [preloadable(shim, transfer), process.env["LD_PRELOAD"]].filter(Boolean).join(":"),
    TRACEMALLOC_PRELOAD: [
      nframe,
      ...(plan.nativeFrames ? ["mixed"] : []),
      ...(plan.domains?.includes("mmap") ? ["mmap"] : []),
      ...(plan.domains?.every((domain) => domain === "mmap") ? ["without-native"] : []),
      ...(plan.sampleBytes > 1 ? [`sample=${plan.sampleBytes}`] : []),
    ].join(","),
  };
  const ofEngine = `--v8-flags=${engineFlags(plan.domains, false).join(",")}`;
  const ofDenos = [shim, transfer, ofEngine, `--preload=${child.href}`];
  const followed = {
    ...env,
    ...(plan.followChildren && { TRACEMALLOC_FOLLOW: ofDenos.join("\n"), ...bunEnvironment(plan, agent, transfer) }),
  };
  if (plan.runtime === "bun") {
    return {
      args: ["run", ...flags, script, ...scriptArguments],
      env: { ...followed, ...bunEnvironment(plan, agent, transfer) },
    };
  }
  if (plan.runtime === "node") return nodeCommand(plan, agent, transfer, env);
  return {
    args: [
      "run",
      ...flags,
      ofEngine,
      ...(flags.some((flag) => allPermissions.test(flag)) ? [] : [`--allow-ffi=${shim}`]),
      `--preload=${agent.href}`,
      script,
      ...scriptArguments,
    ],
    env: followed,
  };
}

/** The loader takes spaces and colons to be between names. */
const notForLoader = /[ :]/;

/** The shim by a name that the loader can be given: a link beside the transfer, where its own is not one. */
function preloadable(shim: string, transfer: string): string {
  if (!notForLoader.test(shim)) return shim;
  const link = join(dirname(transfer), "libtracemalloc.so");
  if (notForLoader.test(link)) {
    throw new TracemallocError(
      `${shim} cannot be preloaded, for there is a space or colon in its path, nor can ${link}: set TMPDIR to a ` +
        "folder without",
      "PRELOAD",
    );
  }
  symlinkSync(shim, link);
  return link;
}

/** What Bun loads before a program, whatever its arguments say, and without a trace in `process.execArgv`. */
const bunPreload = "BUN_INSPECT_PRELOAD";

/** Tells Bun to keep the frames of calls in tail position, which its transpiler makes of `const r = f(); return r`. */
const bunTailCalls = "BUN_JSC_useTailCalls";

/**
 * Bun preloads files, and not URLs with parameters: one beside the transfer loads the agent. Both variables are this process's
 * alone, and taken out of the environment that the program sees, unless children are followed.
 */
function bunEnvironment(
  { keepTailCalls, followChildren }: Plan,
  agent: URL,
  transfer: string,
): Record<string, string> {
  const preload = join(dirname(transfer), agentName), usersPreload = process.env[bunPreload];
  const own = {
    [bunPreload]: preload,
    ...(!keepTailCalls && process.env[bunTailCalls] === undefined && { [bunTailCalls]: "0" }),
  };
  const parameters = new URLSearchParams(agent.search);
  if (followChildren) parameters.set("parent", String(process.pid));
  else for (const name of Object.keys(own)) parameters.append("unset", name);
  const lines = [`import ${JSON.stringify(`${fileURLToPath(new URL("agent.ts", agent))}?${parameters}`)};`];
  if (usersPreload !== undefined) {
    lines.push(`import ${JSON.stringify(usersPreload)};`);
    if (!followChildren) lines.push(`process.env[${JSON.stringify(bunPreload)}] = ${JSON.stringify(usersPreload)};`);
  }
  writeFileSync(preload, lines.join("\n") + "\n");
  if (followChildren) return own;
  return { ...own, TRACEMALLOC_OWN: Object.entries(own).map(([name, value]) => `${name}=${value}`).join("\n") };
}

/**
 * By `--require`: with `--import`, Node would run programs of CommonJS otherwise than it does without. V8 keeps positions there
 * by itself. The options are those of this process, and not of others that the program starts with its own.
 */
function nodeCommand(
  { flags, domains, followChildren, script, scriptArguments }: Plan,
  agent: URL,
  transfer: string,
  env: Record<string, string>,
): { args: string[]; env: Record<string, string> } {
  const preload = join(dirname(transfer), nodeAgentName), parameters = new URLSearchParams(agent.search);
  const ofEngine = engineFlags(domains, true);
  const load = `--require=${preload}`;
  if (followChildren) parameters.set("parent", String(process.pid));
  const settings = JSON.stringify(String(parameters)), file = JSON.stringify(fileURLToPath(agent.href.split("?")[0]!));
  writeFileSync(
    preload,
    `process.execArgv = process.execArgv.filter((option) => !${JSON.stringify([load, ...ofEngine])}.includes(option));
if (require("node:worker_threads").isMainThread) {
  process.tracemallocSettings = ${settings};
  require(${file});
}
//# sourceURL=${new URL("agent.cjs", agent)}
`,
  );
  const args = [...flags, ...ofEngine, script, ...scriptArguments];
  if (!followChildren) return { args: [load, ...args], env };
  const options = [process.env["NODE_OPTIONS"], JSON.stringify(load)].filter(Boolean).join(" ");
  return {
    args,
    env: { ...env, NODE_OPTIONS: options, TRACEMALLOC_FOLLOW: `${agent.searchParams.get("shim")}\n${transfer}\n` },
  };
}

const allPermissions = /^(?:-A|--allow-all)$/;

/** Options that say what the modules are, and not what the program may do or how it runs; some have a value of their own. */
const resolution = new RegExp(
  "^(?:-c|--(?:config|no-config|import-map|lock|no-lock|frozen|node-modules-(?:dir|linker)|vendor|no-remote|no-npm|" +
    "conditions|cert|location|unstable-[a-z-]+))(?:=|$)",
);
const withValue = /^(?:-c|--(?:config|import-map|cert|location|conditions))$/;

/** How frames of the program are named where it could not do that itself. */
function namingCommand({ runtime, executable, flags, script }: Plan): NamingCommand | undefined {
  if (runtime === "bun") return undefined;
  if (runtime === "node") {
    const kept = flags.filter((flag) => /^--enable-source-maps$/.test(flag));
    return { executable, args: [...kept, fileURLToPath(new URL("../runtime/name_transfer.ts", import.meta.url))] };
  }
  const kept = flags.filter((flag, i) => resolution.test(flag) || (i > 0 && withValue.test(flags[i - 1]!)));
  const preload = new URL("../runtime/name_transfer.ts", import.meta.url).href;
  return { executable, args: ["run", "-A", "--quiet", ...kept, `--preload=${preload}`, script] };
}

/** Turns what the program has left so far into snapshots, if it is to; `seen` is the time of the last of the regular ones. */
function reportWhileRunning(
  plan: Plan,
  folder: string,
  pid: number | undefined,
  seen: { time: number } & KnownNames,
  view?: LiveView,
): void {
  for (const name of transfersIn(folder)) {
    const path = join(folder, name), output = outputOf(plan, name, pid);
    if (isOnDemand(name)) {
      writeSnapshot(plan, path, output);
      rmSync(path);
      printError(`The snapshot is in ${output}.\n`);
    } else if (name === transferName && plan.every.milliseconds + plan.every.bytes > 0) {
      const { mtimeMs } = statSync(path);
      if (mtimeMs > seen.time) {
        if (view) view.update(snapshotOfTransfer(path, namingCommand(plan), plan.withMetadata, seen).snapshot);
        else if (!plan.live) writeSnapshot(plan, path, output);
      }
      seen.time = mtimeMs;
    }
  }
}

function transfersIn(folder: string): string[] {
  return readdirSync(folder).filter((name) => name.startsWith(transferName) && !name.endsWith(".unfinished")).sort();
}

function isOnDemand(name: string): boolean {
  return /\.on-demand\.[0-9]+$/.test(name);
}

/** Where the snapshot of a transfer goes: what stands behind the transfer's name is put before the ending. */
function outputOf(plan: Plan, name: string, pid: number | undefined): string {
  const output = plan.output ?? `tracemalloc-${shortened(basename(scriptName(plan.script)))}.${pid}.snapshot`;
  const suffix = name.slice(transferName.length).replace(".on-demand", "");
  return output.endsWith(".snapshot") ? output.replace(/\.snapshot$/, `${suffix}.snapshot`) : output + suffix;
}

/** A name with more before and behind it is no longer than file systems let one be, 255 bytes. */
function shortened(name: string): string {
  const bytes = new TextEncoder().encode(name);
  return bytes.length <= 200 ? name : new TextDecoder().decode(bytes.subarray(0, 200)).replace(/\uFFFD$/, "");
}

function writeSnapshot(plan: Plan, path: string, output: string): ReturnType<typeof snapshotOfTransfer> {
  const result = snapshotOfTransfer(path, namingCommand(plan), plan.withMetadata);
  const old = lstatSync(output, { throwIfNoEntry: false });
  // Somebody else may have put a pipe where our own choice of a name would lead to.
  const named = output === plan.output;
  if (!named || old === undefined || old.isFile() || old.isSymbolicLink()) replaceByDump(result.snapshot, output);
  else result.snapshot.dump(output);
  return result;
}

/** Readable by nobody else, and never through a symbolic link: names of snapshots can be foreseen. */
function replaceByDump(snapshot: Snapshot, output: string): void {
  const unfinished = join(dirname(output), `.tracemalloc-${crypto.randomUUID()}.tmp`);
  try {
    snapshot.dump(unfinished);
    renameSync(unfinished, output);
  } finally {
    rmSync(unfinished, { force: true });
  }
}

function reportSnapshots(plan: Plan, folder: string, pid: number | undefined, signal: string | null): void {
  const endedAt = Date.now();
  reportWhileRunning(plan, folder, pid, { time: Infinity, names: [] });
  const transfer = join(folder, transferName);
  for (const name of transfersIn(folder).filter((name) => name !== transferName)) {
    const output = outputOf(plan, name, pid);
    writeSnapshot(plan, join(folder, name), output);
    printError(`The snapshot of a child is in ${output}.\n`);
  }
  if (!existsSync(transfer)) {
    const how = signal === null ? "before it could be taken" : `by ${signal}`;
    printError(`tracemalloc run: there is no snapshot: the program ended ${how}\n`);
    return;
  }
  const output = outputOf(plan, transferName, pid);
  const { snapshot, createdAt, metadata } = writeSnapshot(plan, transfer, output);
  const settings = { keyType: "lineno", cumulative: false, limit: 10, filters: [], json: false } as const;
  const statistics = snapshot.statistics("lineno");
  printError(topText(statistics, sum(statistics), settings));
  printNotes(metadata);
  const age = (endedAt - createdAt) / 1000;
  if (signal === "SIGKILL") {
    printError(`The program was killed: this is the last snapshot, of ${age.toFixed(1)} s before.\n`);
  }
  printError(`The snapshot is in ${output}: \`tracemalloc top ${output}\` shows more of it.\n`);
}

function scriptName(script: string): string {
  return script.startsWith("file:") ? fileURLToPath(script) : script;
}

/** Whoever waits for us is to see what the program ended by. Returns what a shell makes of it, where that does not end us. */
async function dieBy(signal: NodeJS.Signals): Promise<number> {
  // Runtimes take their time, and let the first fault pass.
  for (let i = 0; i < 3; i++) {
    process.kill(process.pid, signal);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  return 128 + system.signals[signal];
}
