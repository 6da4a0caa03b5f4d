import { packageOf } from "../package_of.ts";
import type { PageData } from "../page_data.ts";

/** What is weighed. */
export type Measure = "size" | "count";

/** Which snapshot is shown, or what changed between the two. */
export type View = "newer" | "older" | "change";

/** What the table groups by, as in `Snapshot.statistics`. */
export type Key = "lineno" | "filename" | "traceback";

/** Weights of all nodes. */
export interface Weights {
  /** What ends at the node, and what goes through it. */
  readonly self: Float64Array;
  readonly total: Float64Array;
  /** Newer less older of what goes through it. */
  readonly change: Float64Array;
}

/** A row of the table. */
export interface Group {
  /** Number of the frame, file name or node. */
  readonly key: number;
  readonly size: number;
  readonly count: number;
  readonly olderSize: number;
  readonly olderCount: number;
}

/** Sums over what the page holds; knows nothing of how it is shown. */
export class Model {
  readonly data: PageData;
  /** By frame: `a.ts:3`, whole and without its folders. */
  readonly labels: readonly string[];
  readonly shortLabels: readonly string[];
  /** By file name: the number of its package. */
  readonly filePackage: readonly number[];
  readonly packages: readonly string[];
  /** The domains that there are. */
  readonly domains: readonly number[];
  /** By node: the domain of most of what goes through it. */
  readonly nodeDomain: Int32Array;
  readonly #childStart: Uint32Array;
  readonly #children: Uint32Array;

  constructor(data: PageData) {
    this.data = data;
    this.labels = data.frameFilename.map((file, i) => label(data.filenames[file]!, data.frameLineno[i]!));
    const shortNames = data.filenames.map((name) => name.slice(name.lastIndexOf("/") + 1) || name);
    this.shortLabels = data.frameFilename.map((file, i) => label(shortNames[file]!, data.frameLineno[i]!));
    const packages = new Map<string, number>();
    this.filePackage = data.filenames.map((name) => {
      const found = packageOf(name), number = packages.get(found) ?? packages.size;
      packages.set(found, number);
      return number;
    });
    this.packages = [...packages.keys()];
    this.domains = [...new Set(data.domain)].sort((a, b) => a - b);
    const { nodeParent } = data;
    const start = this.#childStart = new Uint32Array(nodeParent.length + 1);
    for (let node = 1; node < nodeParent.length; node++) start[nodeParent[node]! + 1]! += 1;
    for (let node = 0; node < nodeParent.length; node++) start[node + 1]! += start[node]!;
    const next = start.slice();
    this.#children = new Uint32Array(nodeParent.length);
    for (let node = 1; node < nodeParent.length; node++) this.#children[next[nodeParent[node]!]!++] = node;
    this.nodeDomain = this.#mainDomains();
  }

  /** The nodes that extend a node. */
  childrenOf(node: number): Uint32Array {
    return this.#children.subarray(this.#childStart[node]!, this.#childStart[node + 1]!);
  }

  /** The nodes from below the root to a node. */
  pathOf(node: number): number[] {
    const path: number[] = [];
    for (; node !== 0; node = this.data.nodeParent[node]!) path.push(node);
    return path.reverse();
  }

  /** The weights of all nodes, of some domains. */
  weigh(view: View, measure: Measure, domains: ReadonlySet<number>): Weights {
    const { node, domain, size, count, olderSize, olderCount, nodeParent } = this.data;
    const [newer, older] = measure === "size" ? [size, olderSize] : [count, olderCount];
    const self = new Float64Array(nodeParent.length), change = new Float64Array(nodeParent.length);
    for (let row = 0; row < node.length; row++) {
      if (!domains.has(domain[row]!)) continue;
      const now = newer[row]!, before = older[row] ?? 0;
      self[node[row]!]! += view === "newer" ? now : view === "older" ? before : Math.abs(now - before);
      change[node[row]!]! += now - before;
    }
    const total = self.slice();
    this.#addUp(total);
    this.#addUp(change);
    return { self, total, change };
  }

  /** What statistics of some domains are; in no order. */
  groups(key: Key, cumulative: boolean, domains: ReadonlySet<number>): Group[] {
    const { data } = this;
    const columns = [data.size, data.count, data.olderSize, data.olderCount].map((values) => {
      const sums = new Float64Array(data.nodeParent.length);
      for (let row = 0; row < data.node.length; row++) {
        if (domains.has(data.domain[row]!)) sums[data.node[row]!]! += values[row] ?? 0;
      }
      if (cumulative) this.#addUp(sums);
      return sums;
    });
    const keys = key === "traceback"
      ? data.nodeParent.length
      : key === "lineno"
      ? this.labels.length
      : data.filenames.length;
    const sums = columns.map(() => new Float64Array(keys));
    for (let node = 1; node < data.nodeParent.length; node++) {
      const frame = data.nodeFrame[node]!;
      const target = key === "traceback" ? node : key === "lineno" ? frame : data.frameFilename[frame]!;
      for (let i = 0; i < 4; i++) sums[i]![target]! += columns[i]![node]!;
    }
    const groups: Group[] = [];
    const [size, count, olderSize, olderCount] = sums as [Float64Array, Float64Array, Float64Array, Float64Array];
    for (let i = 0; i < keys; i++) {
      if (count[i] === 0 && olderCount[i] === 0) continue;
      groups.push({ key: i, size: size[i]!, count: count[i]!, olderSize: olderSize[i]!, olderCount: olderCount[i]! });
    }
    return groups;
  }

  /** By frame: 1 where its label contains a text, in whatever case. */
  framesWith(text: string): Uint8Array {
    const wanted = text.toLowerCase();
    return Uint8Array.from(this.labels, (label) => label.toLowerCase().includes(wanted) ? 1 : 0);
  }

  /** By node: 1 where it or one above it has such a frame. */
  nodesWith(frames: Uint8Array): Uint8Array {
    const { nodeParent, nodeFrame } = this.data;
    const found = new Uint8Array(nodeParent.length);
    for (let node = 1; node < nodeParent.length; node++) {
      found[node] = found[nodeParent[node]!]! | frames[nodeFrame[node]!]!;
    }
    return found;
  }

  /** Adds to every node what those below it have. */
  #addUp(values: Float64Array): void {
    const { nodeParent } = this.data;
    for (let node = nodeParent.length - 1; node > 0; node--) values[nodeParent[node]!]! += values[node]!;
  }

  #mainDomains(): Int32Array {
    const { nodeParent } = this.data;
    const most = new Float64Array(nodeParent.length).fill(-1), main = new Int32Array(nodeParent.length);
    this.domains.forEach((domain, i) => {
      const { total } = this.weigh("newer", "size", new Set([domain]));
      for (let node = 0; node < total.length; node++) {
        if (total[node]! <= most[node]!) continue;
        most[node] = total[node]!;
        main[node] = i;
      }
    });
    return main;
  }
}

function label(filename: string, lineno: number): string {
  return lineno === 0 ? filename : `${filename}:${lineno}`;
}
