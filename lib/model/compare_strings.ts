/**
 * Orders strings by code point, as Python does; `<` orders by UTF-16 unit, which differs beyond U+FFFF.
 *
 * @returns Less than, equal to or greater than 0.
 */
export function compareStrings(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a.charCodeAt(i) === b.charCodeAt(i)) continue;
    // The first difference may be in the second half of a character, and lone halves are characters, too.
    const before = i === 0 ? 0 : a.codePointAt(i - 1)! - b.codePointAt(i - 1)!;
    return before || a.codePointAt(i)! - b.codePointAt(i)!;
  }
  return a.length - b.length;
}
