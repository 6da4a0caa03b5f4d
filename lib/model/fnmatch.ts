/** Says whether a whole name matches. */
export type Matcher = (name: string) => boolean;

/**
 * Compiles a pattern as Python's `fnmatch` understands it on POSIX systems, where upper and lower case differ:
 * `*` any characters (also none, also `/` and line ends), `?` any one, `[…]` any one of these, `[!…]` any other one.
 *
 * Characters are code points. What Python makes of unusual brackets by way of a regular expression, this does too.
 */
export function fnmatch(pattern: string): Matcher {
  const parts = parse(Array.from(pattern));
  return (name) => matches(parts, codePoints(name));
}

/** Any number of characters. */
const star = Symbol("*");

/** What one character must be. */
type One = (character: number) => boolean;

function parse(pattern: readonly string[]): (One | typeof star)[] {
  const parts: (One | typeof star)[] = [];
  for (let i = 0; i < pattern.length; i++) {
    const character = pattern[i]!;
    if (character === "*") {
      if (parts.at(-1) !== star) parts.push(star);
    } else if (character === "?") {
      parts.push(() => true);
    } else {
      const end = character === "[" ? endOfBrackets(pattern, i) : -1;
      if (end === -1) parts.push(literal(character));
      else {
        parts.push(brackets(pattern.slice(i + 1, end)));
        i = end;
      }
    }
  }
  return parts;
}

function literal(character: string): One {
  const wanted = character.codePointAt(0)!;
  return (given) => given === wanted;
}

/** Where the bracket opened at `start` is closed; a first `]` stands for itself. -1: nowhere, it is no bracket. */
function endOfBrackets(pattern: readonly string[], start: number): number {
  let from = start + 1;
  if (pattern[from] === "!") from++;
  return pattern.indexOf("]", pattern[from] === "]" ? from + 1 : from);
}

/** A character of a set, or the hyphen between two that makes them a range. */
const hyphen = Symbol("-");

/** What one character must be to match what stands between brackets. */
function brackets(content: readonly string[]): One {
  const set: (string | typeof hyphen)[] = [];
  for (const chunk of ranges(content)) {
    if (set.length > 0) set.push(hyphen);
    set.push(...chunk);
  }
  // Only here, after empty ranges are gone: what is first now may not have been first in the pattern.
  const negated = set[0] === "!";
  if (negated) set.shift();
  const pairs: [number, number][] = [];
  for (let i = 0; i < set.length; i++) {
    const low = codePoint(set[i]!);
    const isRange = set[i + 1] === hyphen;
    pairs.push([low, isRange ? codePoint(set[i + 2]!) : low]);
    if (isRange) i += 2;
  }
  return (given) => pairs.some(([low, high]) => low <= given && given <= high) !== negated;
}

/** Cuts at the hyphens that make ranges: from the last character of a chunk to the first of the next one. */
function ranges(content: readonly string[]): string[][] {
  const chunks: string[][] = [];
  let start = 0;
  let at = content[0] === "!" ? 2 : 1;
  for (;;) {
    at = content.indexOf("-", at);
    if (at === -1) break;
    chunks.push(content.slice(start, at));
    start = at + 1;
    // What ends a range cannot begin another one.
    at += 3;
  }
  const rest = content.slice(start);
  if (rest.length > 0 || chunks.length === 0) chunks.push(rest);
  else chunks.at(-1)!.push("-");
  // A range that is empty vanishes with its two ends.
  for (let i = chunks.length - 1; i > 0; i--) {
    const low = chunks[i - 1]!;
    const high = chunks[i]!;
    if (codePoint(low.at(-1)!) > codePoint(high[0]!)) chunks.splice(i - 1, 2, [...low.slice(0, -1), ...high.slice(1)]);
  }
  return chunks;
}

function codePoint(character: string | typeof hyphen): number {
  return character === hyphen ? 0x2d : character.codePointAt(0)!;
}

function codePoints(text: string): number[] {
  const points: number[] = [];
  for (let i = 0; i < text.length; i++) {
    const point = text.codePointAt(i)!;
    if (point > 0xffff) i++;
    points.push(point);
  }
  return points;
}

/** Takes as few characters as possible for each star, and one more for the last star where that fails. */
function matches(parts: readonly (One | typeof star)[], name: readonly number[]): boolean {
  let part = 0;
  let at = 0;
  /** What comes after the last star, and what it has not taken. */
  let last: { readonly part: number; at: number } | undefined;
  while (at < name.length) {
    const expected = parts[part];
    if (expected === star) {
      part++;
      last = { part, at };
    } else if (expected !== undefined && expected(name[at]!)) {
      part++;
      at++;
    } else if (last !== undefined) {
      part = last.part;
      at = ++last.at;
    } else return false;
  }
  if (parts[part] === star) part++;
  return part === parts.length;
}
