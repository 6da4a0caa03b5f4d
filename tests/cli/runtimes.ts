import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The top of the repository. */
export const root: string = fileURLToPath(new URL("../..", import.meta.url));

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the command line in a process of the runtime that runs the test. */
export function cli(...args: readonly string[]): Ended {
  const [program, ...before] = runtimeCommand();
  const { status, stdout, stderr } = spawnSync(program!, [...before, `${root}cli.ts`, ...args], { encoding: "utf8" });
  return { code: status, stdout, stderr };
}

/** Runs a shell command with the command line of this runtime as `$CLI`. */
export function shell(command: string): Ended {
  const env = { ...process.env, CLI: [...runtimeCommand(), `${root}cli.ts`].join(" ") };
  const { status, stdout, stderr } = spawnSync("bash", ["-c", command], { encoding: "utf8", env });
  return { code: status, stdout, stderr };
}

/** What stands before the path of a program. */
export function runtimeCommand(): string[] {
  return "Deno" in globalThis ? [process.execPath, "run", "-A", "--no-check"] : [process.execPath];
}
