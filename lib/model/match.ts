import { describe } from "./check.ts";
import { DomainFilter } from "./domain_filter.ts";
import { Filter, normalizeFilename } from "./filter.ts";
import { fnmatch, type Matcher } from "./fnmatch.ts";
import { growUint8 } from "./grow.ts";
import { unknownFrame } from "./traceback.ts";

/**
 * Decides which rows filters keep. The tables of a snapshot are added as they come, whole or in batches; each entry is
 * matched once, so that a row costs one look at a table for every filter.
 */
export class RowMatcher {
  readonly #filters: readonly (Filter | DomainFilter)[];
  readonly #nodeMatchers: readonly (NodeMatcher | undefined)[];
  readonly #anyInclusive: boolean;

  /** @throws {TypeError} If `filters` is no iterable of filters. */
  constructor(filters: Iterable<Filter | DomainFilter>) {
    this.#filters = checkFilters(filters);
    this.#nodeMatchers = this.#filters.map((filter) => filter instanceof Filter ? new NodeMatcher(filter) : undefined);
    this.#anyInclusive = this.#filters.some((filter) => filter.inclusive);
  }

  /** Are there no filters, so that all rows are kept? */
  get keepsAll(): boolean {
    return this.#filters.length === 0;
  }

  /** Adds file names, numbered on from those added before. */
  addFilenames(filenames: readonly string[]): void {
    for (const matcher of this.#nodeMatchers) matcher?.addFilenames(filenames);
  }

  /** Adds frames, numbered on from those added before. */
  addFrames(filename: Uint32Array, lineno: Uint32Array): void {
    for (const matcher of this.#nodeMatchers) matcher?.addFrames(filename, lineno);
  }

  /** Adds nodes, numbered from 1 on and on from those added before. */
  addNodes(parent: Uint32Array, frame: Uint32Array): void {
    for (const matcher of this.#nodeMatchers) matcher?.addNodes(parent, frame);
  }

  /** Whether a row with this domain and this end of its traceback is kept: by any inclusive filter, by all others. */
  keeps(domain: number, node: number): boolean {
    let included = !this.#anyInclusive;
    for (let i = 0; i < this.#filters.length; i++) {
      const filter = this.#filters[i]!;
      // Domain and frames together say what is matched; an exclusive filter drops just that.
      const matches = (filter.domain === null || filter.domain === domain) &&
        (this.#nodeMatchers[i]?.matches(node) ?? true);
      if (!matches) continue;
      if (!filter.inclusive) return false;
      included = true;
    }
    return included;
  }
}

/** What a {@linkcode Filter} says about tracebacks, by the node where they end. */
class NodeMatcher {
  readonly #filter: Filter;
  readonly #matchesName: Matcher;
  /** Does the empty traceback match? */
  readonly #unknown: boolean;
  #filenames: Uint8Array = Uint8Array.of();
  #filenameCount = 0;
  #frames: Uint8Array = Uint8Array.of();
  #frameCount = 0;
  /** Entry 0, the root, matches nothing: as a parent it has no frame. */
  #nodes: Uint8Array = Uint8Array.of();
  #nodeCount = 1;

  constructor(filter: Filter) {
    this.#filter = filter;
    this.#matchesName = fnmatch(filter.filenamePattern);
    this.#unknown = this.#matchesName(unknownFrame.filename) && this.#matchesLine(unknownFrame.lineno);
  }

  matches(node: number): boolean {
    return node === 0 ? this.#unknown : this.#nodes[node] === 1;
  }

  addFilenames(filenames: readonly string[]): void {
    this.#filenames = growUint8(this.#filenames, this.#filenameCount + filenames.length);
    for (const filename of filenames) {
      this.#filenames[this.#filenameCount++] = Number(this.#matchesName(normalizeFilename(filename)));
    }
  }

  addFrames(filename: Uint32Array, lineno: Uint32Array): void {
    this.#frames = growUint8(this.#frames, this.#frameCount + filename.length);
    for (let i = 0; i < filename.length; i++) {
      this.#frames[this.#frameCount++] = this.#matchesLine(lineno[i]!) ? this.#filenames[filename[i]!]! : 0;
    }
  }

  addNodes(parent: Uint32Array, frame: Uint32Array): void {
    const { allFrames } = this.#filter;
    this.#nodes = growUint8(this.#nodes, this.#nodeCount + parent.length);
    for (let i = 0; i < parent.length; i++) {
      const older = allFrames ? this.#nodes[parent[i]!]! : 0;
      this.#nodes[this.#nodeCount++] = older | this.#frames[frame[i]!]!;
    }
  }

  #matchesLine(lineno: number): boolean {
    return this.#filter.lineno === null || this.#filter.lineno === lineno;
  }
}

function checkFilters(filters: unknown): (Filter | DomainFilter)[] {
  if (typeof filters !== "object" || filters === null || !(Symbol.iterator in filters)) {
    throw new TypeError(`filters must be an array of filters, not ${describe(filters)}`);
  }
  return Array.from(filters as Iterable<unknown>, (filter) => {
    if (filter instanceof Filter || filter instanceof DomainFilter) return filter;
    throw new TypeError(`filters must be instances of Filter or DomainFilter, not ${describe(filter)}`);
  });
}
