/** Callbacks that built-in functions call, each once or a few times. */
import { keep } from "./keep.ts";

const three = [3, 1, 2];

three.map((number) => {
  keep(new Uint8Array(20_001)); // mark 20001 x3
  return number;
});
three.forEach(() => keep(new Uint8Array(20_003))); // mark 20003 x3
three.filter(() => keep(new Uint8Array(20_005)).length > 0); // mark 20005 x3
three.reduce((sum, number) => {
  const bytes = keep(new Uint8Array(20_007)); // mark 20007 x2
  return sum + number + bytes.length;
});
three.reduceRight((sum) => sum + keep(new Uint8Array(20_009)).length, 0); // mark 20009 x3
three.some(() => {
  return keep(new Uint8Array(20_011)).length === 0; // mark 20011 x3
});
three.every(() => keep(new Uint8Array(20_013)).length > 0); // mark 20013 x3
three.find((number) => keep(new Uint8Array(20_015)).length < number); // mark 20015 x3
three.findLastIndex(() => keep(new Uint8Array(20_017)).length === 0); // mark 20017 x3
three.flatMap((number) => [keep(new Uint8Array(20_019)).length, number]); // mark 20019 x3

let compared = 0;
[5, 4, 3, 2, 1].sort((a, b) => {
  if (compared++ < 4) keep(new Uint8Array(20_021)); // mark 20021 x4
  return a - b;
});
compared = 0;
three.toSorted((a, b) => {
  if (compared++ < 2) keep(new Uint8Array(20_023)); // mark 20023 x2
  return b - a;
});
new Uint8Array([3, 1, 2]).map((byte) => {
  keep(new ArrayBuffer(20_025)); // mark 20025 x3
  return byte;
});

Array.from("abcd", (letter) => {
  keep(new Uint8Array(20_027)); // mark 20027 x4
  return letter;
});
Array.from({ length: 2 }, () => keep(new Uint8Array(20_029))); // mark 20029 x2

const parsed = JSON.parse('{"a":[1,2],"b":{}}', (_key, value) => {
  keep(new Uint8Array(20_031)); // mark 20031 x5
  return value;
});
JSON.stringify(parsed, (_key, value) => {
  keep(new Uint8Array(20_033)); // mark 20033 x5
  return value;
});
JSON.stringify({
  toJSON(): number {
    return keep(new Uint8Array(20_035)).length; // mark 20035
  },
});

"a-b-c".replace(/-/g, () => {
  keep(new Uint8Array(20_037)); // mark 20037 x2
  return "+";
});
"a-b-c".replaceAll("-", () => String(keep(new Uint8Array(20_039)).length)); // mark 20039 x2

new Map([[1, 2], [3, 4]]).forEach(() => keep(new Uint8Array(20_041))); // mark 20041 x2
new Set(three).forEach(() => {
  keep(new Uint8Array(20_043)); // mark 20043 x3
});
Object.groupBy(three, (number) => {
  keep(new Uint8Array(20_045)); // mark 20045 x3
  return number % 2 ? "odd" : "even";
});
three.values().map(() => keep(new Uint8Array(20_047))).toArray(); // mark 20047 x3

function called(this: unknown): void {
  keep(new Uint8Array(20_049)); // mark 20049 x5
}
Reflect.apply(called, undefined, []);
called.call(1);
called.apply(2, []);
called.bind(3)();
Reflect.construct(called, []);

/** Where an object becomes a primitive value. */
const primitive = {
  [Symbol.toPrimitive](hint: string): string | number {
    keep(new Uint8Array(20_051)); // mark 20051 x3
    return hint === "number" ? 1 : "text";
  },
};
`${primitive}`.concat(String(primitive));
Math.abs(primitive as unknown as number);

const proxy: Record<string, unknown> = new Proxy({}, {
  get(): number {
    return keep(new Uint8Array(20_053)).length; // mark 20053 x2
  },
  has: () => keep(new Uint8Array(20_055)).length > 0, // mark 20055
  ownKeys() {
    keep(new Uint8Array(20_057)); // mark 20057
    return [];
  },
});
const odd = [proxy["a"], Reflect.get(proxy, "b"), "c" in proxy, Object.keys(proxy)];

function tag(strings: TemplateStringsArray, ...values: unknown[]): string {
  keep(new Uint8Array(20_059)); // mark 20059 x2
  return strings.join("") + values.join("");
}
tag`plain`;
tag`one ${keep(new Uint8Array(20_061)).length} and ${keep}`; // mark 20061

console.log("callbacks", compared > 2, odd.length);
