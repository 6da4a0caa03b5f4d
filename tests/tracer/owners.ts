/** Programs that are traced on a runtime beside Deno: which lines own the blocks of every size. */
import { assertEquals } from "@std/assert";
import { Snapshot } from "../../mod.ts";
import { inFolder, type Mode, root } from "./programs.ts";

/** Blocks of every size by the line that owns them. */
export type Owners = Map<number, Map<string, number>>;

/** Traces a program with what runs the runtime with arguments. */
export function traceOwners(
  script: string,
  mode: Mode,
  run: (args: readonly string[]) => { status: number | null; signal: string | null; stderr: string },
): Owners {
  const nframe = /\d+/.exec(mode)![0];
  return inFolder((folder) => {
    const snapshot = `${folder}/snapshot`;
    const args = mode.startsWith("run")
      ? [`${root}cli.ts`, "run", "-n", nframe, "-o", snapshot, script]
      : [`${root}tests/tracer/start_program.ts`, nframe, snapshot, `${folder}/transfer`, script];
    const { status, signal, stderr } = run(args);
    assertEquals([status, signal], [0, null], stderr);
    const owners: Owners = new Map();
    for (const { size, traceback } of Snapshot.load(snapshot).traces) {
      const owner = String(traceback.at(-1)), found = owners.get(size) ?? new Map<string, number>();
      owners.set(size, found.set(owner, (found.get(owner) ?? 0) + 1));
    }
    return owners;
  });
}

/** What differs from so many blocks of a size at a place, if anything does. */
export function problemOf(owners: Owners, size: number, blocks: number, place: string): string | undefined {
  const expected = `${blocks} at ${place}`;
  const found = [...owners.get(size) ?? []].map(([owner, count]) => `${count} at ${owner}`).join(", ") || "none";
  return found === expected ? undefined : `blocks of ${size} bytes: expected ${expected}, found ${found}`;
}
