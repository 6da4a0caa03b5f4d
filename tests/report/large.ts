import type { SnapshotColumns } from "../../lib/model/columns.ts";
import { columnsOf, type PlainTrace } from "../format/snapshots.ts";

/** A snapshot of so many different tracebacks of up to 25 frames, in a program of modules that call each other. */
export function largeSnapshot(tracebacks: number, seed = 1): SnapshotColumns {
  // Numerical Recipes' generator: the same snapshot every time.
  let state = seed;
  const random = (limit: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor(state / 2 ** 32 * limit);
  };
  const seen = new Set<string>();
  const traces: PlainTrace[] = [];
  while (traces.length < tracebacks) {
    const frames: [string, number][] = [];
    const depth = 8 + random(18);
    let module = 0;
    for (let i = 0; i < depth; i++) {
      // A few calls of each module are much more frequent than its others.
      const call = Math.floor((random(100) / 100) ** 3 * 12);
      frames.push([fileOf(module), 10 + 7 * call]);
      module = (module * 5 + call * call + 1) % 120;
    }
    const key = frames.join();
    if (seen.has(key)) continue;
    seen.add(key);
    const size = 16 + Math.floor(2 ** (4 + random(14)));
    traces.push({ domain: random(10) === 0 ? 1 : 0, size, count: 1 + random(20), total: null, frames });
  }
  return columnsOf(traces, 25);
}

function fileOf(module: number): string {
  if (module % 4 === 3) return `/srv/app/node_modules/package-${module % 9}/lib/module-${module}.js`;
  return module % 11 === 10 ? `ext:deno_${module % 3}/code.js` : `/srv/app/src/module-${module}.ts`;
}
