import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { fnmatch } from "../../lib/model/fnmatch.ts";

/** Pattern, names that match, names that do not; as CPython 3.11 answers. */
const table: [pattern: string, matching: string[], other: string[]][] = [
  ["", [""], ["a", "\n"]],
  ["*", ["", "a", ".a", "a/b", "a\nb", "😀"], []],
  ["?", ["a", "\n", "/", "😀", "\ud800", "\uffff"], ["", "ab"]],
  ["?a", ["\uffffa", "\u{10ffff}a"], ["\uffff", "a"]],
  ["a*", ["a", "ab", "a/"], ["", "ba", "A"]],
  ["*a", ["a", "aa", "ba"], ["", "ab"]],
  ["*a*b*", ["ab", "xaxbx", "aabb"], ["ba", "a", "b"]],
  ["a**b", ["ab", "axb"], ["a"]],
  ["ab*b*", ["abb", "abxb"], ["abx", "ab"]],
  ["*ab?", ["abab1", "ab1"], ["ab", "abab"]],
  ["a.c", ["a.c"], ["abc"]],
  ["[ab]", ["a", "b"], ["", "c", "ab", "[ab]"]],
  ["[!ab]", ["c", "!", "\n"], ["a", "b", ""]],
  ["[a-c]", ["a", "b", "c"], ["d", "-", "`"]],
  ["[a-a]", ["a"], ["b", "-"]],
  ["[c-a]", [], ["a", "b", "c", "-", ""]],
  ["[!c-a]", ["a", "b", "-"], [""]],
  ["[c-ab]", ["b"], ["a", "c", "-"]],
  ["[a-cx-z]", ["b", "y"], ["d", "w", "-"]],
  ["[a-]", ["a", "-"], ["b"]],
  ["[-a]", ["a", "-"], ["b"]],
  ["[!-a]", ["b"], ["a", "-"]],
  ["[a-b-c]", ["a", "b", "-", "c"], ["d"]],
  ["[--0]", ["-", ".", "/", "0"], ["1", ","]],
  ["[!--a]", ["b", ","], [".", "A", "a", "-"]],
  ["[a-cx-]", ["a", "b", "x", "-"], ["A", "."]],
  ["[zb-c]", ["z", "b", "c"], ["a", "-"]],
  ["[]]", ["]"], ["[", "[]"]],
  ["[]a]", ["]", "a"], ["[", "b"]],
  ["[!]]", ["a", "["], ["]"]],
  ["[]-a]", ["]", "^", "a"], ["b", "-"]],
  ["[]", ["[]"], ["", "["]],
  ["[!", ["[!"], ["a"]],
  ["[!]", ["[!]"], ["a"]],
  ["[a", ["[a"], ["a"]],
  ["[[]", ["["], ["]", "[["]],
  ["[^a]", ["^", "a"], ["b"]],
  ["[\\]", ["\\"], ["]", "a"]],
  ["[a\\-z]", ["a", "\\", "b", "z", "^"], ["-", "A"]],
  ["\\*", ["\\", "\\a"], ["*"]],
  ["[😀-😂]", ["😀", "😁", "😂"], ["😃", "\ud83d"]],
  // What is left of empty ranges may begin with what negates.
  ["[z-a!b]", ["a", "!", "z"], ["b"]],
  ["[z-a!-d]", ["a", "!", "c"], ["-", "d"]],
];

for (const [pattern, matching, other] of table) {
  test(`fnmatch ${JSON.stringify(pattern)}`, () => {
    const matches = fnmatch(pattern);
    assertEquals(matching.filter((name) => matches(name) !== true), []);
    assertEquals(other.filter((name) => matches(name) !== false), []);
  });
}
