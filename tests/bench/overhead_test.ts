import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { assert, assertEquals } from "@std/assert";

const root = fileURLToPath(new URL("../../", import.meta.url));
const deno = fileURLToPath(new URL("../../node_modules/.bin/deno", import.meta.url));

test("the command of the README's tables runs every part, and prints tables without gaps", {
  skip: "Bun" in globalThis,
}, () => {
  const { status, stdout, stderr } = spawnSync(deno, ["run", "-A", "bench/overhead.ts", "--quick"], {
    cwd: root,
    encoding: "utf8",
  });
  assertEquals(status, 0, stderr);
  const tables = stdout.split(/^(?=\|.*\n\| ---)/m).slice(1).map((text) => text.match(/^\|.*$/gm)!);
  assertEquals(tables.length, 4, stdout);
  for (const [head = "", ...rows] of tables) {
    assert(rows.length >= 2, stdout);
    for (const row of rows) {
      assertEquals(row.split("|").length, head.split("|").length, row);
      assert(!/NaN|undefined/.test(row), row);
    }
  }
  assert(stdout.includes("Bun "), stdout);
});
