/**
 * WTF-8: UTF-8 that can also hold a lone surrogate, as three bytes. A file name in JavaScript is any
 * sequence of UTF-16 units, and a dump must give back the same one.
 */

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const loneSurrogate = /\p{Surrogate}/u;

/** The bytes of a string. Well-formed strings give plain UTF-8. */
export function encodeWtf8(text: string): Uint8Array {
  if (!loneSurrogate.test(text)) return encoder.encode(text);
  const bytes: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0)!;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | code >> 6, 0x80 | code & 63);
    else if (code < 0x10000) bytes.push(0xe0 | code >> 12, 0x80 | code >> 6 & 63, 0x80 | code & 63);
    else bytes.push(0xf0 | code >> 18, 0x80 | code >> 12 & 63, 0x80 | code >> 6 & 63, 0x80 | code & 63);
  }
  return Uint8Array.from(bytes);
}

/** The string of some bytes, or `null` where they are not WTF-8. */
export function decodeWtf8(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return decodeWithSurrogates(bytes);
  }
}

/** The string of some bytes, or `null` where they are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return decoder.decode(bytes);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return null;
  }
}

function decodeWithSurrogates(bytes: Uint8Array): string | null {
  const parts: string[] = [];
  let afterHigh = false;
  for (let i = 0; i < bytes.length;) {
    const lead = bytes[i]!;
    const length = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (length === 0 || i + length > bytes.length) return null;
    let code = length === 1 ? lead : lead & 0xff >> length + 1;
    for (let k = 1; k < length; k++) {
      const byte = bytes[i + k]!;
      if (byte >> 6 !== 2) return null;
      code = code << 6 | byte & 63;
    }
    const smallest = [0, 0, 0x80, 0x800, 0x10000][length]!;
    if (code < smallest || code > 0x10ffff) return null;
    // A pair has one spelling only: four bytes. Otherwise two files could hold one name differently.
    const low = code >= 0xdc00 && code < 0xe000;
    if (low && afterHigh) return null;
    afterHigh = code >= 0xd800 && code < 0xdc00;
    parts.push(String.fromCodePoint(code));
    i += length;
  }
  return parts.join("");
}
