/** The Buns that traced programs run on, whichever runtime runs the test. */
import process from "node:process";
import { installBun } from "../../tools/other_buns.mjs";
import { runtimes } from "../../tools/runtimes.mjs";

/** The pinned one, or the one at the path in `$TRACED_BUN` (`tools/other_buns.mjs` gives some). */
export const bun: string = process.env["TRACED_BUN"] || runtimes.bun;

/** One whose own allocator cannot be traced. */
export function bunWithoutHooks(): string {
  return installBun("1.3.10");
}

/** What is to be tested: one of each, or the one that was named. */
export function testedBuns(): { readonly name: string; readonly bun: string }[] {
  if (process.env["TRACED_BUN"]) return [{ name: "Bun", bun }];
  return [{ name: "Bun", bun }, { name: "Bun without hooks", bun: bunWithoutHooks() }];
}
