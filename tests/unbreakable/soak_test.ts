/**
 * A server that is traced on and off every second while it works, started as usual and under `run`: no request fails, and
 * the tracer's memory does not grow. A minute of each; `SOAK_MINUTES=30` is the long form, with
 * 2,000,000 requests to each.
 */
import { assert, assertEquals } from "@std/assert";
import { spawn } from "node:child_process";
import process from "node:process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { compile, makeFolder, root } from "./run.ts";

const minutes = Number(process.env["SOAK_MINUTES"] ?? "1");
/** Requests a second. */
const rate = minutes < 30 ? 250 : 1150;
const cycle = 1000;

interface Sizes {
  readonly tables: number;
  readonly mapped: number;
  readonly blocks: number;
  readonly objects: number;
  readonly resident: number;
}

interface Statistics {
  readonly requests: number;
  readonly cycles: readonly Sizes[];
}

const folder = makeFolder();
after(() => folder.remove());
const load = compile("load.c", folder.path("load"));
const server = [fileURLToPath(new URL("soak_server.ts", import.meta.url)), String(cycle)];
const output = folder.path("soak.snapshot");

/** By the name of its link: of a program that is given as `Deno.execPath()` Deno's `node:child_process` changes the arguments. */
const [runtime, flags] = "Bun" in globalThis
  ? [`${root}node_modules/.bin/bun`, []] as const
  : [`${root}node_modules/.bin/deno`, ["run", "-A"]] as const;

const ways: Readonly<Record<string, readonly string[]>> = {
  "started as usual": [...flags, ...server],
  "under run": [...flags, `${root}cli.ts`, "run", "--every", "10s", "-o", output, ...server],
};

/** Of so many, in order. */
function quantileOf(cycles: readonly Sizes[], what: keyof Sizes, part: number): number {
  return cycles.map((sizes) => sizes[what]).sort((a, b) => a - b)[Math.floor(cycles.length * part)]!;
}

/**
 * How much more there may be in the second half. What the tracer has is what is live, and does not grow; that of the whole
 * process is the engine's, too: blocks and objects lie about until it collects, when only a tenth of the time is looked at.
 * What it has in memory is as much as it was once, for malloc's heap is full of holes: from cycles that start its profiler
 * alone it grows as well.
 */
const limits: Readonly<Record<keyof Sizes, { readonly part: number; most(first: number): number }>> = {
  tables: { part: 0.5, most: (first) => first * 1.1 + 16_384 },
  mapped: { part: 0.5, most: (first) => first + 4 * 2 ** 20 },
  blocks: { part: 0.1, most: (first) => first + 16 * 2 ** 20 },
  objects: { part: 0.1, most: (first) => first + 16 * 2 ** 20 },
  resident: { part: 0.5, most: (first) => first + 128 * 2 ** 20 },
};

for (const [way, args] of Object.entries(ways)) {
  test(`a server ${way} under load, for ${minutes} minutes, traced on and off every ${cycle} ms`, async () => {
    const child = spawn(runtime, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let complaints = "", code: number | null = null, signal: string | null = null;
    child.stderr.on("data", (data) => complaints += data);
    const ended = new Promise<void>((resolve) => child.on("close", (...how) => resolve(void ([code, signal] = how))));
    try {
      const port = await new Promise<number>((resolve, reject) => {
        child.stdout.on("data", (data) => resolve(Number(data)));
        ended.then(() => reject(new Error(`the server has ended: ${complaints}`)));
      });
      const sent = await requests(port);
      const { requests: served, cycles }: Statistics = await (await fetch(`http://127.0.0.1:${port}/`)).json();
      assertEquals([sent.failed, served], [0, sent.sent], sent.complaints);
      assert(sent.sent >= Math.floor(minutes * 60 * rate), `only ${sent.sent} requests`);
      report(way, sent.sent, cycles);
    } finally {
      if (child.pid !== undefined && child.exitCode === null) process.kill(child.pid, "SIGTERM");
      await ended;
    }
    assertEquals([code, signal], [null, "SIGTERM"], complaints);
  });
}

/** What the load generator says that it did. */
async function requests(port: number): Promise<{ sent: number; failed: number; complaints: string }> {
  const child = spawn(load, [String(port), String(rate), String(minutes * 60)], { stdio: ["ignore", "pipe", "pipe"] });
  let stdout = "", complaints = "";
  child.stdout.on("data", (data) => stdout += data);
  child.stderr.on("data", (data) => complaints += data);
  const code = await new Promise((resolve) => child.on("close", resolve));
  assertEquals(code, 0, complaints);
  console.log(stdout.trim());
  const [, sent, failed] = /^(\d+) requests, (\d+) failed/.exec(stdout) ?? [];
  return { sent: Number(sent), failed: Number(failed), complaints };
}

/** After the first minute nothing grows, from the first half of what is left to the second. */
function report(way: string, requests: number, cycles: readonly Sizes[]): void {
  const settled = cycles.slice(Math.min(60, cycles.length >> 1)), half = settled.length >> 1;
  assert(half >= 5, `only ${cycles.length} cycles`);
  for (const what of Object.keys(limits) as (keyof Sizes)[]) {
    const { part, most } = limits[what];
    const [first, second] = [settled.slice(0, half), settled.slice(half)].map((of) => quantileOf(of, what, part));
    const kib = (bytes: number) => `${Math.round(bytes / 1024)} KiB`;
    const text = `${way}: ${what} ${kib(first!)}, then ${kib(second!)}; ${requests} requests, ${cycles.length} cycles`;
    console.log(text);
    assert(second! <= most(first!), `it grows: ${text}`);
  }
}
