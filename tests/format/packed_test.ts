import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { crc32 } from "../../lib/format/crc32.ts";
import { ByteWriter, chooseDifferences, decodePacked, encodePacked } from "../../lib/format/packed.ts";
import { decodeWtf8, encodeWtf8 } from "../../lib/format/wtf8.ts";

const whole = fc.oneof(fc.nat(3), fc.nat(5000), fc.nat(2 ** 31 - 1), fc.maxSafeNat());

function encoded(values: Float64Array, differences: boolean): Uint8Array {
  const out = new ByteWriter();
  encodePacked(values, 0, values.length, differences, out);
  return out.written;
}

test("packed columns give back what they were given", () => {
  fc.assert(fc.property(fc.array(whole, { maxLength: 400 }), fc.boolean(), (array, sorted) => {
    const values = Float64Array.from(sorted ? array.sort((a, b) => a - b) : array);
    for (const differences of new Set([false, chooseDifferences(values, 0, values.length)])) {
      const into = new Float64Array(values.length);
      assertEquals(decodePacked(encoded(values, differences), into.length, differences, into, 2 ** 53 - 1), null);
      assertEquals(into, values);
    }
  }));
});

test("the bytes of a packed column are those of the specification", () => {
  // Base 5, width 2, values 5 6 8 7 as 00 01 11 10, one exception: 5 + 1 + 4 * 100.
  const values = Float64Array.of(5, 6, 8, 7, 5, 7, 8, 406);
  assertEquals([...encoded(values, false)], [5 << 1, 0x82, 0b10_11_01_00, 0b01_11_10_00, 1, 7, 100]);
  // Differences 10, 10, 10: nothing but the base. Base -3 has the sign in the lowest bit.
  assertEquals([...encoded(Float64Array.of(10, 20, 30), true)], [10 << 1, 0]);
  assertEquals([...encoded(Float64Array.of(100, 97), true)], [3 << 1 | 1, 7, 0b1100111, 0]);
});

test("every cut of a packed column is noticed", () => {
  const values = Float64Array.from({ length: 200 }, (_, i) => (i % 17 === 0 ? 2 ** 40 + i : i * 3 % 50));
  const bytes = encoded(values, false);
  for (let length = 0; length < bytes.length; length++) {
    const fault = decodePacked(bytes.subarray(0, length), values.length, false, new Float64Array(200), 2 ** 53 - 1);
    assert(fault !== null, `${length} of ${bytes.length} bytes passed`);
  }
  const longer = Uint8Array.from([...bytes, 0]);
  assertEquals(decodePacked(longer, 200, false, new Float64Array(200), 2 ** 53 - 1), "1 bytes too many");
});

test("packed values beyond what is allowed are noticed", () => {
  const decode = (bytes: number[], count: number, max: number) =>
    decodePacked(Uint8Array.from(bytes), count, false, new Float64Array(count), max);
  assertEquals(decode([4 << 1, 0], 1, 3), "4 is not in [0, 3]");
  assertEquals(decode([4 << 1 | 1, 0], 1, 3), "-4 is not in [0, 3]");
  assertEquals(decode([0, 25], 1, 3), "a width of 25 bits, at most 24 are allowed");
  assertEquals(decode([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1], 1, 3), "a base is cut or too great");
  assertEquals(decode([0, 0x80, 0], 1, 3), "exceptions are cut or out of order");
  assertEquals(decode([0, 0x80, 2, 1, 1, 0, 1], 2, 3), "exceptions are cut or out of order");
  assertEquals(decode([0, 0x80, 1, 2, 1], 2, 3), "exceptions are cut or out of order");
  const zero = new Float64Array(1);
  assertEquals(decodePacked(Uint8Array.of(1, 0), 1, false, zero, 3), null);
  assert(Object.is(zero[0], 0), "a base of -0 must not leave its sign");
});

test("WTF-8 gives back every string and refuses what is none", () => {
  fc.assert(fc.property(fc.array(fc.nat(0xffff)), (units) => {
    const text = String.fromCharCode(...units);
    assertEquals(decodeWtf8(encodeWtf8(text)), text);
  }));
  assertEquals([...encodeWtf8("\ud83d\ude00")], [0xf0, 0x9f, 0x98, 0x80]);
  assertEquals([...encodeWtf8("\ud83d")], [0xed, 0xa0, 0xbd]);
  for (
    const bad of [
      [0x80],
      [0xc0, 0x80],
      [0xc3],
      [0xe0, 0x80, 0x80],
      [0xf0, 0x80, 0x80, 0x80],
      [0xf4, 0x90, 0x80, 0x80],
      [0xf8, 0x88, 0x80, 0x80],
      [0xff],
      [0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80],
      [0xed, 0xa0, 0x20],
    ]
  ) {
    assertEquals(decodeWtf8(Uint8Array.from(bad)), null, bad.join());
  }
});

test("the CRC-32 is the one of zlib", () => {
  assertEquals(crc32(new TextEncoder().encode("123456789")), 0xcbf43926);
  assertEquals(crc32(new Uint8Array(0)), 0);
  assertEquals(crc32(new TextEncoder().encode("The quick brown fox jumps over the lazy dog")), 0x414fa339);
});
