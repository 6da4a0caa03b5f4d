/**
 * Two copies of the library in one process: the other's folder is the first argument. Prints who traces a block, twice: the
 * first is stopped by the other copy, which then begins by itself.
 */
import { strictEqual } from "node:assert";
import process from "node:process";
import { pathToFileURL } from "node:url";
import * as one from "../../mod.ts";

interface Unused {
  readonly line: 11;
}

const other: typeof one = await import(pathToFileURL(`${process.argv[2]}/mod.ts`).href);

/** As each of the copies sees them: one, and of the line that is looked for. */
function ownersOf(size: number): string {
  const seen = [one, other].map((copy) =>
    [...copy.takeSnapshot().traces].filter((trace) => trace.size === size).map(({ traceback }) =>
      String(traceback.at(-1))
    )
  );
  strictEqual(String(seen[0]), String(seen[1]));
  return String(seen[0]);
}

const kept: Uint8Array[] = [];
Object.assign(globalThis, { kept });

one.start();
other.start(7);
strictEqual(other.isTracing(), true);
strictEqual(other.getTracebackLimit(), one.getTracebackLimit());
kept.push(new Uint8Array(1_999_945)); // line 34
console.log(ownersOf(1_999_945));

// What is stopped is stopped for all.
other.stop();
strictEqual(one.isTracing(), false);
other.start(3);
strictEqual(other.getTracebackLimit(), 3);
one.start();
strictEqual(one.getTracebackLimit(), 3);
kept.push(new Uint8Array(1_999_949)); // line 44
console.log(ownersOf(1_999_949));
one.stop();
strictEqual(other.isTracing(), false);
