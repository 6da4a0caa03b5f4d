/**
 * Orders strings by code point, as Python does; `<` orders by UTF-16 unit, which differs beyond U+FFFF.
 *
 * @returns Less than, equal to or greater than 0.
 */
export function compareStrings(a: string, b: string): number {
  if (a === b) return 0;
  const length = a.length < b.length ? a.length : b.length;
  let i = 0;
  while (i < length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  if (i === length) return a.length - b.length;
  if (i > 0 && isHighSurrogate(a.charCodeAt(i - 1))) {
    // The first difference may be the second half of a character.
    const difference = a.codePointAt(i - 1)! - b.codePointAt(i - 1)!;
    if (difference !== 0) return difference;
  }
  return a.codePointAt(i)! - b.codePointAt(i)!;
}

function isHighSurrogate(unit: number): boolean {
  return unit >= 0xd800 && unit < 0xdc00;
}
