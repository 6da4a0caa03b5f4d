import { spawnSync } from "node:child_process";
import { fromFileUrl } from "@std/path";
import type { Case } from "./cases.ts";

/** The folder of the files that tracebacks of cases refer to. */
export const sourcesFolder: string = fromFileUrl(new URL("sources/", import.meta.url));

const oracle = fromFileUrl(new URL("oracle.py", import.meta.url));

/** What CPython says to some cases, and its version; null where there is no python3. */
export function askPython(cases: readonly Case[]): { version: string; answers: string[] } | null {
  const { stdout, stderr, status, error } = spawnSync("python3", ["-W", "ignore", oracle], {
    cwd: sourcesFolder,
    encoding: "utf8",
    env: { ...process.env, PYTHONUTF8: "1" },
    input: cases.map((given) => `${JSON.stringify(given)}\n`).join(""),
    maxBuffer: 2 ** 30,
  });
  if (error !== undefined) {
    if ((error as { code?: string }).code === "ENOENT") return null;
    throw error;
  }
  if (status !== 0) throw new Error(`oracle.py failed with exit code ${status}: ${stderr}`);
  const [version, ...answers] = stdout.trimEnd().split("\n");
  if (answers.length !== cases.length) {
    throw new Error(`oracle.py gave ${answers.length} answers to ${cases.length} cases: ${stderr}`);
  }
  return { version: version!, answers };
}
