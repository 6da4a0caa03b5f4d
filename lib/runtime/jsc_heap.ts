/** The js-heap domain on JavaScriptCore, which does not say where objects are made: by type, and all of them. */
import type { HeapType } from "./backend.ts";

/** What the engine's own module says of its heap. */
export interface HeapTools {
  fullGC(): void;
  /** Bytes of all that the heap holds. */
  heapSize(): number;
}

/** A snapshot of the heap as JavaScriptCore has it (its heap/HeapSnapshotBuilder.h, version 3). */
interface HeapSnapshot {
  readonly version: number;
  readonly type: string;
  /** Four numbers a node: its own, bytes, class, flags. */
  readonly nodes: ArrayLike<number>;
  readonly nodeClassNames: readonly string[];
}

const nodeFields = 4;

/** Objects that differ in size are of different rows. */
export function heapTypes(tools: HeapTools): HeapType[] {
  tools.fullGC();
  const total = tools.heapSize();
  const { version, type, nodes, nodeClassNames } =
    (globalThis as unknown as { Bun: { generateHeapSnapshot(): HeapSnapshot } }).Bun.generateHeapSnapshot();
  if (version !== 3 || type !== "Inspector" || nodes.length % nodeFields !== 0) {
    throw new Error(`expected a heap snapshot of version 3, found version ${version} of ${type}`);
  }
  /** Counts by size, for each class. */
  const counts = nodeClassNames.map(() => new Map<number, number>());
  let told = 0;
  for (let i = 0; i < nodes.length; i += nodeFields) {
    const size = nodes[i + 1]!, bySize = counts[nodes[i + 2]!]!;
    bySize.set(size, (bySize.get(size) ?? 0) + 1);
    told += size;
  }
  const types = counts.flatMap((bySize, i) =>
    [...bySize].map(([size, count]): HeapType => ({ name: nodeClassNames[i]!, size, count }))
  );
  // Elements of arrays and named properties that do not fit their object are in no object's size. What is left is a
  // difference of two sums that the engine makes differently: it was 393,527 bytes where two arrays alone have 400,176.
  if (total > told) types.push({ name: "elements and properties", size: total - told, count: 1 });
  return types;
}
