/** What stands in a report for its page to show, as JSON. Tables are those of `TracebackTable`. */
export interface PageData {
  readonly newer: PageSnapshot;
  readonly older: PageSnapshot | null;
  readonly filenames: readonly string[];
  readonly frameFilename: readonly number[];
  readonly frameLineno: readonly number[];
  readonly nodeParent: readonly number[];
  readonly nodeFrame: readonly number[];
  readonly node: readonly number[];
  readonly domain: readonly number[];
  readonly size: readonly number[];
  readonly count: readonly number[];
  /** Empty where there is no older snapshot. */
  readonly olderSize: readonly number[];
  readonly olderCount: readonly number[];
  /** Lines of source around frames: by file, text by line number. */
  readonly sources: readonly (Readonly<Record<number, string>> | null)[];
}

/** What is said of a snapshot as a whole. */
export interface PageSnapshot {
  readonly name: string;
  /** Rows to be shown: what, value. */
  readonly facts: readonly (readonly [string, string])[];
  readonly createdAt: number | null;
}
