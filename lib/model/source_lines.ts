/**
 * How the source lines for {@linkcode Traceback.format} are found. This folder can read no file: whoever can, hands
 * the functions over, and without them no source lines are shown, as in a browser.
 */
export interface SourceFiles {
  /** Something that changes when the file does; undefined where there is no such file. */
  version(filename: string): string | undefined;
  /** The text of the file; undefined where it cannot be read. */
  read(filename: string): string | undefined;
}

interface CachedFile {
  readonly version: string;
  readonly lines: readonly string[];
}

/** A traceback has few files; a program may print many tracebacks. */
const maxCached = 64;

/** Files by name, the most recently used last. */
const cache = new Map<string, CachedFile>();

let files: SourceFiles | undefined;

/** Says how source files are read from now on; forgets what was read before. */
export function useSourceFiles(replacement: SourceFiles | undefined): void {
  files = replacement;
  cache.clear();
}

/** A line of a file without the space around it; empty where there is none. */
export function sourceLine(filename: string, lineno: number): string {
  const line = lines(filename)[lineno - 1] ?? "";
  return line.replace(spaceAround, "");
}

/** What Python's `strip` removes: this differs from `trim` in the separators of U+001C to U+001F, U+0085, U+FEFF. */
const spaceAround = (() => {
  const space = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
  return new RegExp(`^${space}|${space}$`, "g");
})();

function lines(filename: string): readonly string[] {
  const version = files?.version(filename);
  if (version === undefined) {
    cache.delete(filename);
    return [];
  }
  let cached = cache.get(filename);
  if (cached?.version !== version) {
    const text = files?.read(filename);
    cached = { version, lines: text === undefined ? [] : text.split(/\r\n|\r|\n/) };
  }
  cache.delete(filename);
  cache.set(filename, cached);
  if (cache.size > maxCached) cache.delete(cache.keys().next().value!);
  return cached.lines;
}
