/**
 * How many of the bytes that a program allocates are charged to a line of JavaScript, for five programs.
 *
 *   deno run -A bench/attribution.ts [PROGRAM…]        (all of bench/programs/)
 *
 * Counts every byte that malloc and its family were asked for from the start of the process to its end, whether it was given
 * back or not. Beside the threads that run JavaScript, the runtime's other threads are listed by name, with what no line
 * asked for: what they allocate for a line counts as the line's.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../lib/runtime/shim_file.ts";
import { FrameKind, ScriptFlag } from "../lib/tracer/abi.ts";
import type { Image } from "../lib/tracer/image.ts";
import type { NamedFrame } from "../lib/tracer/naming.ts";
import { readTransfer } from "../lib/tracer/traced_image.ts";

const programs = fileURLToPath(new URL("programs/", import.meta.url));
const names = process.argv.slice(2);
const scripts = readdirSync(programs).filter((name) =>
  name.endsWith(".ts") && (names.length === 0 || names.includes(basename(name, ".ts")))
);
if (scripts.length === 0) throw new Error(`there is no program ${names.join(", ")} in ${programs}`);

const kinds = {
  line: "a line of the program",
  inside: "the runtime's own JavaScript, none of the program's below",
  file: "a file, but not the line",
  unknown: "unknown",
  native: "native code, no JavaScript on the stack",
  start: "the runtime's start, before any JavaScript",
} as const;
type Kind = keyof typeof kinds;

for (const script of scripts) {
  const { image, names } = trace(join(programs, script));
  const sums = new Map<string, number>();
  const add = (key: string, bytes: number) => sums.set(key, (sums.get(key) ?? 0) + bytes);
  image.nodeAllocated.forEach((bytes, node) => {
    if (bytes > 0) add(keyOf(image, names, image.nodeFrame[node]!), bytes);
  });
  print(basename(script, ".ts"), sums);
}

function trace(script: string): { image: Image; names: readonly NamedFrame[] } {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-bench-"));
  try {
    const transfer = join(folder, "transfer"), shim = ensureShim();
    const agent = new URL("../lib/runtime/agent.ts", import.meta.url);
    const settings = { shim, transfer, milliseconds: "0", bytes: "0", signal: "0" };
    for (const [name, value] of Object.entries(settings)) agent.searchParams.set(name, value);
    const { status, stderr } = spawnSync(
      process.execPath,
      ["run", "-A", "--v8-flags=--detailed-line-info", `--preload=${agent.href}`, script],
      { encoding: "utf8", env: { ...process.env, LD_PRELOAD: shim, TRACEMALLOC_PRELOAD: "1,allocated" } },
    );
    if (status !== 0) throw new Error(`${script} failed: ${stderr}`);
    const { image, names } = readTransfer(new Uint8Array(readFileSync(transfer)));
    if (names === undefined) throw new Error(`${script} ended before its frames were named`);
    return { image, names };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** A kind, or the name of a thread that runs no JavaScript. */
function keyOf(image: Image, names: readonly NamedFrame[], frame: number): Kind | `thread ${string}` {
  const owner = image.frameOwner[frame]!;
  switch (image.frameKind[frame]) {
    case FrameKind.script:
      if (image.scriptFlags[owner]! & ScriptFlag.internal) return "inside";
      return names[frame]!.lineno === 0 ? "file" : "line";
    case FrameKind.native:
      return "native";
    case FrameKind.thread: {
      const name = image.strings[owner]!;
      // The main thread, until it has an isolate; workers are named by their number.
      return name === "deno" || name.startsWith("worker-") ? "start" : `thread ${name}`;
    }
    default:
      return "unknown";
  }
}

function print(title: string, sums: ReadonlyMap<string, number>): void {
  const total = (keys: readonly string[]) => keys.reduce((sum, key) => sum + (sums.get(key) ?? 0), 0);
  const row = (what: string, bytes: number, of: number) =>
    console.log(
      `  ${what.padEnd(62)}${megabytes(bytes).padStart(12)}${`${(100 * bytes / of).toFixed(2)} %`.padStart(10)}`,
    );
  const own = Object.keys(kinds), threads = [...sums.keys()].filter((key) => key.startsWith("thread "));
  const javascript = total(own), running = javascript - total(["start"]), other = total(threads);
  console.log(`${title}: ${megabytes(javascript + other)} allocated`);
  for (const kind of own) if (sums.get(kind)) row(kinds[kind as Kind], sums.get(kind)!, javascript);
  row("= threads that run JavaScript: with a JavaScript line", total(["line", "inside"]), javascript);
  row("  the same from the first JavaScript on", total(["line", "inside"]), running);
  for (const key of threads.sort((a, b) => sums.get(b)! - sums.get(a)!)) row(key, sums.get(key)!, javascript + other);
}

function megabytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(2)} MiB`;
}
