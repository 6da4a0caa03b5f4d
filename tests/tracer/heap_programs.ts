/** Programs that trace the js-heap domain, each in a process of its own. */
import { assertEquals } from "@std/assert";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { after } from "node:test";
import { fileURLToPath } from "node:url";
import { ensureShim } from "../../lib/runtime/shim_file.ts";
import { deno } from "./deno.ts";

export const root = fileURLToPath(new URL("../../", import.meta.url));
export const folder = mkdtempSync(join(tmpdir(), "tracemalloc-heap-"));
after(() => rmSync(folder, { recursive: true }));

/** A module that finds the library under `api`: its path. */
export function programOf(name: string, source: string): string {
  const path = join(folder, `${name}.ts`);
  writeFileSync(path, `import * as api from "${root}mod.ts";\n${source}`);
  return path;
}

/** Runs such a module, and gives what it printed. */
export function run(name: string, source: string, flags: readonly string[] = []): string {
  const path = programOf(name, source);
  const { stdout, stderr, status } = spawnSync(deno, ["run", "-A", `--config=${root}deno.json`, ...flags, path], {
    encoding: "utf8",
  });
  assertEquals([status, stderr], [0, ""]);
  return stdout;
}

/** A shim that makes the mistake that `$TM_PERTURB` says. */
const mistakenShim = () => ensureShim(undefined, ["-DTM_TEST_PERTURB"]);

/** How a module begins that uses it. */
export function mistakenHead(): string {
  return `import * as api from "${root}mod.ts"; import { detectBackend } from "${root}lib/runtime/detect.ts"; ` +
    `detectBackend().openShim("${mistakenShim()}");\n`;
}

/** Runs a program whose shim makes a mistake, as `setting` says. */
export function perturbed(
  name: string,
  setting: string,
  source: string,
  flags: readonly string[] = [],
): { stdout: string; stderr: string } {
  const path = join(folder, `${name}.ts`);
  writeFileSync(path, mistakenHead() + source);
  const { stdout, stderr, status } = spawnSync(deno, ["run", "-A", `--config=${root}deno.json`, ...flags, path], {
    encoding: "utf8",
    env: { ...process.env, TM_PERTURB: setting, NO_COLOR: "1" },
  });
  assertEquals(status, 0, stderr);
  return { stdout, stderr };
}
