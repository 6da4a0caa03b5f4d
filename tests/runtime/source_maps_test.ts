import { encodedMappings, type SourceMapSegment, TraceMap, traceSegment } from "@jridgewell/trace-mapping";
import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { test } from "node:test";
import { findSourceMap, mapPositions, type SourceMap } from "../../lib/runtime/source_maps.ts";

const url = "file:///made/main.js", sources = ["a.ts", "../b.ts", "https://c.d/e.ts"];
const sourceUrls = ["file:///made/a.ts", "file:///b.ts", "https://c.d/e.ts"];

const segment: fc.Arbitrary<SourceMapSegment> = fc.oneof(
  fc.tuple(fc.nat(50)),
  fc.tuple(fc.nat(50), fc.nat(2), fc.nat(100_000), fc.nat(1000)),
);
const mappings = fc.array(fc.array(segment, { maxLength: 8 }).map((line) => line.sort((a, b) => a[0] - b[0])));

test("positions are those that trace-mapping finds; of several in one place, the first", () => {
  const positions = Array.from({ length: 20 * 60 }, (_, i) => ({ line: 1 + i % 20, column: 1 + Math.floor(i / 20) }));
  fc.assert(fc.property(mappings, (decoded) => {
    const oracle = new TraceMap({ version: 3, sources, names: [], mappings: decoded });
    const map: SourceMap = { version: 3, sources, mappings: encodedMappings(oracle) };
    const expected = positions.map(({ line, column }) => {
      const found = traceSegment(oracle, line - 1, column - 1);
      const first = found && decoded[line - 1]!.find(([column]) => column === found[0]);
      return first && first.length > 1 ? { url: sourceUrls[first[1]!]!, line: first[2]! + 1 } : { url, line: 0 };
    });
    assertEquals(mapPositions(map, url, positions), expected);
  }));
});

function textOf(text: string) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return { length: text.length, hash: hash >>> 0 };
}

test("a source map is taken only for just the text that it is of", () => {
  const map: SourceMap = { version: 3, sources: ["a.ts"], mappings: "AAAA" };
  const code = "f();\n";
  const inline = `${code}//# sourceMappingURL=data:application/json;base64,${btoa(JSON.stringify(map))}\n// more\n`;
  const external = `${code}//# sourceMappingURL=main.js.map\n`;
  const files = new Map([["inline", inline], ["external", external], ["/made/main.js.map", JSON.stringify(map)]]);
  const find = (text: string, ...paths: string[]) => findSourceMap(textOf(text), url, paths, (path) => files.get(path));
  assertEquals(find(code, "gone", "inline"), map);
  assertEquals(find(inline, "inline"), map);
  assertEquals(find(external, "external"), map);
  assertEquals(find("g();\n", "inline", "external"), undefined);
  assertEquals(findSourceMap({ ...textOf(code), hash: 0 }, url, ["inline"], (path) => files.get(path)), undefined);
  files.set("plain", code);
  assertEquals(find(code, "plain", "inline"), null);
  for (const bad of ["{", "null", "[]", `{"version":4}`]) {
    files.set("/made/main.js.map", bad);
    assertEquals(find(external, "external"), undefined);
  }
});
