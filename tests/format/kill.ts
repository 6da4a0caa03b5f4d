/**
 * Kills processes that dump over an existing file, and loads what they leave.
 *
 *   deno run -A tests/format/kill.ts [COUNT]        (200 kills unless told)
 */
import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { dumpSnapshot, loadSnapshot } from "../../lib/format/file.ts";
import type { SnapshotColumns } from "../../lib/model/columns.ts";

/** What was found after the kills. */
export interface KillReport {
  /** How often the file was the one from before the process, or one that the process had written whole. */
  readonly old: number;
  readonly new: number;
  /** Temporary files that killed processes left: so many kills struck in the middle of a dump. */
  readonly interrupted: number;
}

/** The snapshot that is written: some hundred KiB, told apart by its process number. */
function dump(path: string, pid: number): void {
  dumpSnapshot(path, columns, { pid });
}

const rows = 60_000;
const lines = 1000;
const numbers = (length: number, value: (i: number) => number) => Uint32Array.from({ length }, (_, i) => value(i));
const columns: SnapshotColumns = {
  tracebackLimit: 1,
  filenames: ["a.ts"],
  frameFilename: new Uint32Array(lines),
  frameLineno: numbers(lines, (i) => i + 1),
  nodeParent: new Uint32Array(lines + 1),
  nodeFrame: numbers(lines + 1, (i) => Math.max(0, i - 1)),
  tracebackNode: numbers(lines, (i) => i + 1),
  tracebackTotal: new Uint32Array(lines),
  traceDomain: new Uint32Array(rows),
  traceSize: Float64Array.from({ length: rows }, (_, i) => Math.imul(i, 0x9e3779b1) >>> 8),
  traceCount: new Float64Array(rows).fill(1),
  traceTraceback: numbers(rows, (i) => i % lines),
};

/**
 * Kills `count` processes, each at another moment of its dumps.
 *
 * @throws {SnapshotFormatError} Where a file was left that is not whole.
 */
export async function killDumps(count: number): Promise<KillReport> {
  const folder = mkdtempSync(join(tmpdir(), "tracemalloc-kill-"));
  const report = { old: 0, new: 0, interrupted: 0 };
  try {
    for (let i = 0; i < count; i++) {
      const path = join(folder, `${i}.tracemalloc`);
      dump(path, 0);
      await killOne(path, 40 * i / count);
      const { metadata, totals } = loadSnapshot(path);
      if (totals.rows !== rows) throw new Error(`${totals.rows} rows after kill ${i}`);
      report[metadata.pid === 0 ? "old" : "new"]++;
    }
    report.interrupted = readdirSync(folder).filter((name) => name.endsWith(".tmp")).length;
    return report;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Starts a process that dumps over a file again and again, and kills it so many milliseconds after it began. */
async function killOne(path: string, delay: number): Promise<void> {
  const self = fileURLToPath(import.meta.url);
  const command = "Deno" in globalThis ? ["run", "-A", "--no-check", self] : [self];
  const child = spawn(process.execPath, [...command, "dump", path], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = new Promise<string | null>((resolve) => child.on("exit", (_, signal) => resolve(signal)));
  await new Promise((resolve) => child.stdout.once("data", resolve));
  await new Promise((resolve) => setTimeout(resolve, delay));
  child.kill("SIGKILL");
  const signal = await ended;
  if (signal !== "SIGKILL") throw new Error(`the process ended by itself (${signal})`);
}

if (import.meta.main) {
  if (process.argv[2] === "dump") {
    // The first ones are slow and would take all kills.
    for (let i = 0; i < 3; i++) dump(`${process.argv[3]}.warm`, 0);
    process.stdout.write("ready\n");
    for (let pid = 1;; pid++) dump(process.argv[3]!, pid);
  }
  const count = Number(process.argv[2] ?? 200);
  const report = await killDumps(count);
  console.log(
    `${count} kills, ${report.interrupted} in the middle of a dump: ` +
      `${report.old} times the old file, ${report.new} times a new one, always whole`,
  );
}
